"""TensorRT: its editions, engine files, and the backend that runs them."""
