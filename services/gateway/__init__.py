"""Gateway: the only public edge. It knows who asks, sends requests in and shows what came of them."""
