"""From steps to numbers: the memory of a Graph, and how its calls go through executors and threads."""
