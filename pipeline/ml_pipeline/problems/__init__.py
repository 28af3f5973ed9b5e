"""The problems ``bars`` and ``table``, and the computation of features and labels."""
