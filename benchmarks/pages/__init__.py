"""The tables and pictures of docs/understand/performance.md, each with what was asked of it."""
