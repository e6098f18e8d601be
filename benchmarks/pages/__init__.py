"""The tables and pictures of docs/performance.md, each with what was asked of it."""
