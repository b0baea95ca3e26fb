"""A2Summ: choose the frames and the sentences that matter, each helped by the other.

He et al., "Align and Attend: Multimodal Summarization with Dual Contrastive Losses", CVPR 2023, arXiv 2303.07284.
"""
