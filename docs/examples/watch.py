"""A notebook as a script: boot a machine, let it work, look at it from outside, all in one process.

    python docs/examples/watch.py

Cells begin with `# %%`, as Jupyter, VS Code and Spyder read them. To watch a machine that `emu run` has started
leave the first cell out and say `m = emu.attach("its name")`.
"""

# %% A machine with four CPUs, as Linux 4.11
import os

import emu
from emu.machine import Machine

machine = Machine(cpus=4, kernel="4.11", memory=64 << 20, name="notebook")
machine.__enter__()

# %% Some work: 30 objects on CPU 2, and a broadcast
cache = machine.kmem_cache_create("mine", 192)
objects = [machine.cpu(2).kmem_cache_alloc(cache) for _ in range(30)]
machine.kick_all_cpus_sync(on=1)

# %% The same machine from outside: read-only, no lock taken
m = emu.attach(os.getpid())
mine = m.cache("mine")
print(m)
print(f"objects of {mine.size} bytes, {mine.num} to a slab, {mine.node(0).total_slabs} slabs")
for cpu in m.cpus:
    array = mine.cpu(cpu.number)
    print(f"CPU {cpu.number}: {cpu.mode:<6} {array.avail:3} of {array.limit} objects in its array")

# %% Interrupts: who took them, how long the broadcasts took
print("CAL", m.interrupts()["CAL"])
kick = m.latency("kick")
per_us = m.memory.cycles_per_us
mean, longest = kick["total"] / kick["count"] / per_us, kick["max"] / per_us
print(f"{kick['count']} kicks, mean {mean:.0f} us, longest {longest:.0f} us")

# %% The array of CPU 2, word by word, before and after a free
array = mine.cpu(2)
before = array.avail
machine.cpu(2).kmem_cache_free(cache, objects.pop())
print("one more in the array:", array.avail == before + 1)
print(array)

# %% Give back what was taken, and end
for each in objects:
    machine.cpu(2).kmem_cache_free(cache, each)
m.close()
machine.__exit__(None, None, None)
