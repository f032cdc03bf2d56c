# init/main.c: no C interface; start_kernel() is called from Python.
