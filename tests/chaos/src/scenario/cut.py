"""Cuts the power of file systems: everything that was not synced is gone, and every later call fails.

Arguments: a folder, then mount points in it. ext4's shutdown ioctl (0x8004587d, value 2: without flushing the journal) on
anything but a scratch file system would take the machine's own disk down, so every path is checked before any is touched.
"""
import fcntl
import os
import struct
import sys

scratch, points = os.path.realpath(sys.argv[1]), [os.path.realpath(point) for point in sys.argv[2:]]
with open("/proc/self/mountinfo") as table:
    mounts = {fields[4]: fields for fields in (line.split() for line in table)}
for point in points:
    fields = mounts.get(point)
    if fields is None or not os.path.ismount(point):
        sys.exit(f"{point} is no mount point")
    if os.stat(point).st_dev in (os.stat("/").st_dev, os.stat(scratch).st_dev, os.stat(os.path.dirname(point)).st_dev):
        sys.exit(f"{point} is on the device of / or of the folder around it")
    kind, source = fields[fields.index("-") + 1], fields[fields.index("-") + 2]
    if kind != "ext4" or not source.startswith("/dev/loop"):
        sys.exit(f"{point} is {kind} on {source}, not ext4 on a loop device")
    with open(f"/sys/block/{os.path.basename(source)}/loop/backing_file") as backing:
        image = os.path.realpath(backing.read().strip())
    if not image.startswith(scratch + "/"):
        sys.exit(f"{point} is the image {image}, which is not in {scratch}")
descriptors = [os.open(point, os.O_RDONLY | os.O_DIRECTORY) for point in points]
for descriptor in descriptors:
    fcntl.ioctl(descriptor, 0x8004587D, struct.pack("I", 2))
