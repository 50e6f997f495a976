# SPDX-License-Identifier: BSD-2-Clause
"""Disks: Debian's Linux reads and writes two of them, by bus master and by port, over a reboot; and a CD, of which
it finds a file, and which it ejects."""

import hashlib
import random
import re
import sys

import iso
import pytest
from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian, initramfs  # noqa: E402

pytestmark = pytest.mark.slow

# The first life uses DMA, writes, and reboots; the second, without DMA, finds what was written.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
say() { echo "disk-test: $*"; }
sum() { say $1 $2 $(dd if=/dev/$2 bs=64k iflag=direct 2>/dev/null | md5sum | cut -c 1-32); }
insmod /scsi_common.ko && insmod /scsi_mod.ko && insmod /sd_mod.ko
insmod /cdrom.ko && insmod /sr_mod.ko && insmod /isofs.ko
insmod /libata.ko && insmod /ata_piix.ko
for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sdb ] && [ -b /dev/sr0 ] || sleep 1; done
life=first
[ "$(dd if=/dev/sdb bs=512 count=1 2>/dev/null | head -c 5)" = again ] && life=second
if [ $life = second ]; then
    rmmod ata_piix && rmmod libata && insmod /libata.ko dma=0 && insmod /ata_piix.ko
    for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sdb ] && [ -b /dev/sr0 ] || sleep 1; done
fi
say $life mode $(cat /sys/class/ata_device/dev1.0/xfer_mode)
say $life cdmode $(cat /sys/class/ata_device/dev2.0/xfer_mode)
sum $life sda
sum $life sdb
sum $life sr0
mkdir -p /cd && mount -t iso9660 -o ro /dev/sr0 /cd
say $life file $(md5sum < /cd/data.bin | cut -c 1-32)
umount /cd
set_cd() { echo $2 > /proc/sys/dev/cdrom/$1; }
set_cd autoclose 0
set_cd autoeject 1
dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null && set_cd autoeject 0
dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null || say $life ejected yes
set_cd autoclose 1
: < /dev/sr0 # which closes the tray; Linux looks at the disc when it is opened again
sum $life-again sr0
begin=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)
dd if=/dev/sda of=/dev/null bs=64k iflag=direct 2>/dev/null
end=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)
say $life took $((end - begin))
if [ $life = first ]; then
    dd if=/dev/sda of=/dev/sdb bs=4k seek=1 count=100 oflag=direct 2>/dev/null
    echo again | dd of=/dev/sdb conv=sync oflag=direct 2>/dev/null
else
    dd if=/dev/sda of=/dev/sdb bs=4k skip=100 seek=101 count=20 oflag=direct 2>/dev/null
fi
sum $life-wrote sdb
grep ata_piix /proc/interrupts
stty sane # which waits until the serial port has sent everything
[ $life = first ] && reboot -f
poweroff -f
"""

CONFIG = """\
[vm disks]
kernel = vmlinuz
ramdisk = initramfs.gz
disk = a.img
disk = b.img
cdrom = cd.iso
cmdline = console=ttyS0 quiet panic=-1
memory = 256
"""

SECTORS = 4096
TICKS = 1000000  # instructions to a hundredth of a second


def md5(data):
    return hashlib.md5(bytes(data)).hexdigest()


def test_linux(nadir):
    kernel = debian.fetch_kernel("linux-image-cloud-amd64")
    archive = initramfs.with_busybox(INIT)
    for module in debian.DISK_MODULES + debian.CD_MODULES:
        archive.add_file(f"{module}.ko", (kernel / f"{module}.ko").read_bytes())
    a = random.Random(1).randbytes(512 * SECTORS)
    b = bytearray(random.Random(2).randbytes(512 * 1500))
    content = random.Random(3).randbytes(1234567)
    cd = iso.make({"DATA.BIN;1": content})
    files = {"vmlinuz": kernel / "vmlinuz", "initramfs.gz": archive.compressed(),
             "a.img": a, "b.img": bytes(b), "cd.iso": cd}
    result = nadir(CONFIG, files, timeout=400)
    assert result.status == 0, result
    said = dict(re.findall(r"disk-test: (\S+ \S+) (\S+)", result.console))
    expected = {"first sda": md5(a), "first sdb": md5(b)}
    b[4096:4096 * 101] = a[:4096 * 100]
    b[:512] = b"again\n".ljust(512, bytes(1))
    expected |= {"first-wrote sdb": md5(b), "second sda": md5(a), "second sdb": md5(b)}
    b[4096 * 101:4096 * 121] = a[4096 * 100:4096 * 120]
    expected |= {"second-wrote sdb": md5(b), 
                 "first mode": "XFER_MW_DMA_2", "second mode": "XFER_PIO_4"}
    for life in ("first", "second"):
        expected |= {f"{life} sr0": md5(cd), f"{life} file": md5(content), f"{life} ejected": "yes",
                     f"{life}-again sr0": md5(cd)}
    expected |= {"first cdmode": "XFER_MW_DMA_2", "second cdmode": "XFER_PIO_4"}
    assert {key: said.get(key) for key in expected} == expected, result
    assert [vm["end"] for vm in result.stats] == ["reset", "poweroff"], result.stats
    for life, way in (("first", "DMA"), ("second", "PIO")):
        print(f"{way}: {int(said[life + ' took']) * TICKS // SECTORS} instructions to a sector read")
