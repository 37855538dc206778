"""What tests share: made pictures, sounds, videos, towers, stores and commands."""
