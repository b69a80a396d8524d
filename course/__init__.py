"""What the lessons start from: a little data and small pretrained models, all offline."""
