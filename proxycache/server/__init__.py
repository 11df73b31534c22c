"""The processes: a supervisor that owns the sockets, and the workers that it starts."""
