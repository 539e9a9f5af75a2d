"""Training: pretrain, teach, distil, grpo, one file each. Never sees the exam."""
