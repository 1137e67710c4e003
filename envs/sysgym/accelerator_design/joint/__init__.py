"""The mode `joint`: after the datapath, the schedule of every region and what stays in global memory are chosen too."""
