"""The learning rate where servers update (``dist_async``): they count, not the workers."""

import mxnet as mx


class ServerSchedule(mx.lr_scheduler.LRScheduler):
    """A schedule of `igc.schedule` for servers, to which each worker's batch is an update.

    Parameters
    ----------
    schedule : callable
        From the number of a worker's update (counted from 1) to the learning rate.
    num_workers : int
    """

    def __init__(self, schedule, num_workers):
        super().__init__(base_lr=schedule(1))
        self.schedule, self.num_workers = schedule, num_workers

    def __call__(self, num_update):
        """Return the rate of the servers' update number `num_update`."""
        return self.schedule(max(1, -(-num_update // self.num_workers)))
