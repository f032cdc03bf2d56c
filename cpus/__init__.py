"""The kernel that runs on the hardware of ipc: allocators, page lists, IPIs, RCU, memcg."""
