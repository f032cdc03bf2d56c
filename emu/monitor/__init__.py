"""The live monitor: one pane, one file. It reads a running machine's memory and nothing else.

lines     what a frame is made of: parts of text with a style, all characters one cell wide
reading   one look at the machine, shared by all panes
pane      what a pane is; cpus, locks, caches, ipis, memcgs, events are the panes
view      the frame: head, panes, foot, help; keys change it
screen    a frame for rich
terminal  the terminal taken over and given back, whatever happens
app       the loop
"""
