"""A file -> frames: video files, folders of frames, single images; bounded in memory and time, and never trusted."""
