"""Long work in a child process: the spec, the event stream, the runner, and (worker side only) the tasks."""
