"""Pictures, videos and pages that people look at; NumPy, no device."""
