"""The HTTP face: OpenAI's Videos API, with what a gateway adds to it."""
