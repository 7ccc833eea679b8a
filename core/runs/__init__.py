"""What one training run reads and writes."""
