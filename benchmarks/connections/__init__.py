"""The study of connections: accuracy and hardware cost of each, at each precision."""
