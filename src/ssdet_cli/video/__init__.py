"""Reading, sampling, cropping and writing video.

Import from the files: `decode` (decord, PyAV and frame folders behind one reader), `write`, `sampling`, `transforms`.
"""
