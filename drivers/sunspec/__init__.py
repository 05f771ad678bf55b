"""SunSpec: which models a device has and where (walk), and what a reference means there (resolve, connect).

No I/O: everything is a generator that yields requests and is sent the data of the reply, or the error.
"""
