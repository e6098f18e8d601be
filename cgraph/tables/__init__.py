"""Tables in CSV files as samples of a network: how they are read, what their columns are, and their preparation."""
