"""Published results again, with our code: the number, ours, the interval, why they differ."""
