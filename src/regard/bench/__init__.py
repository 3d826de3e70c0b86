"""Speed and memory as ratios within one run; nothing is timed before it equals the dense oracle."""
