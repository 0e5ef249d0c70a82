"""Project quotas on a kernel that has them: ``make quotas``. Read ``machine``, then ``sizes``."""
