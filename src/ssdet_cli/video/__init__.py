"""Reading, sampling, cropping and writing video.

Import from the files: `decode` (PyAV, decord and frame folders behind one reader), `write`, `sampling`, `transforms`.
"""
