"""The durable story of one video: accept, submit or render, watch, settle."""
