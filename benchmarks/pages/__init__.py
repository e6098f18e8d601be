"""The tables and pictures of docs/understand/performance.md, each with its goals."""
