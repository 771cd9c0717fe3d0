"""The study of debiased recommenders: the paper's tables and figures, and where balancing helps."""
