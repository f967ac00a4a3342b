"""Reelgate: a self-hosted gateway to every video-generation model."""
