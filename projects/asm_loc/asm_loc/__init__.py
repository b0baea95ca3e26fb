"""ASM-Loc (He et al., CVPR 2022): which action happens when in an untrimmed video, learned from video-level labels.

A legend for the whole package: B videos of a batch, T snippets of a video on file, R rows fed to the network (T' of the
paper's text: snippets after resampling), K action classes (index K is the background), C channels, N proposals of a
video. Times are seconds; *snippet coordinates* count snippets from the video's start (snippet i spans [i, i + 1]);
*row coordinates* do the same for rows.
"""
