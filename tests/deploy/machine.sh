#!/usr/bin/env bash
# The first process of a test's machine: the files of the machine that the tests run on, all changes kept in memory.
# Processes, network, mounts and host name are those of the namespaces that it is started in.
#
#   machine.sh NAME FOLDER KEYS CHECKOUT PYTHON
#       FOLDER: an empty one to mount the root in; KEYS: the folder of id_ed25519 and id_ed25519.pub
#       CHECKOUT/.venv: a node's packages; PYTHON: the installation that this environment was made from
set -euo pipefail
name=$1 folder=$2 keys=$3 checkout=$4 python=$5
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

hostname "$name"
mount -t tmpfs tmpfs "$folder"
cd "$folder"
mkdir root changes work packages packages-work
mount -t overlay overlay -o lowerdir=/,upperdir=changes,workdir=work root
mount --rbind /dev root/dev
mount --rbind /sys root/sys
mount -t proc proc root/proc
for path in /tmp /run /home /dev/shm /etc/postgresql /var/lib/postgresql; do
    mkdir --parents "root$path"
    mount -t tmpfs tmpfs "root$path"
done
chmod 1777 root/tmp root/dev/shm

home=/home/ubuntu
chroot root groupadd --force ubuntu
chroot root id ubuntu >/dev/null 2>&1 || chroot root useradd --gid ubuntu --no-create-home ubuntu
chroot root usermod --password '*' --home $home --shell /bin/bash ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD: ALL' >root/etc/sudoers.d/ubuntu
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >root/etc/hosts
own=$home/signed-supermask-sweeps
mkdir --mode 700 root$home
cp --recursive /etc/skel/. root$home
mkdir --mode 700 root$home/.ssh
mkdir --parents root$own/.venv
cp "$keys/id_ed25519.pub" root$home/.ssh/authorized_keys
chroot root chown --recursive ubuntu: $home

# The environment is that of node.sh, in the machine's own checkout. It knows that by the name under which it was
# installed, so the machine has it under this name, too; an ordinary user gets there and to the Python behind it.
for path in "$checkout" "$python"; do
    mkdir --parents "root$path"
    while [ "$path" != / ]; do
        chmod go+x "root$path"
        path=$(dirname "$path")
    done
done
mount --rbind "$python" "root$python"
mount -t overlay overlay -o "lowerdir=$checkout/.venv,upperdir=packages,workdir=packages-work" root$own/.venv
touch --date='1 day' root$own/.venv/.installed{,-cluster}   # later than the checkout's files: nothing is to be installed
mount --rbind root$own "root$checkout"

cd root
mkdir --parents old
pivot_root . old
umount --lazy /old
ssh-keygen -A >/dev/null
mkdir --parents /run/sshd
/usr/sbin/sshd -D -e -f /dev/null -o UsePAM=no -o PidFile=none </dev/null &
wait
