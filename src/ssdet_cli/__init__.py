"""ssdet: temporal activity detection in video, pretrained from weak labels."""

__version__ = "0.1.0"
