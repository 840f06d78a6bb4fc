//! How much memory this process may use: what the machine has left, and the limits of the control
//! groups that it is in.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Bytes;

/// Memory that this process can come to use before the system takes pages from it, or ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// Bytes: free ones, and the pages of files that can be read again.
    pub bytes: u64,
    /// The control group whose limit that is; none where the machine itself has no more.
    pub group: Option<String>,
}

impl Allowance {
    /// What there is now; `None` where the system does not say.
    pub fn now() -> Option<Allowance> {
        Allowance::of(Path::new("/"))
    }

    /// The same of a system whose files lie under `root`.
    fn of(root: &Path) -> Option<Allowance> {
        let machine = machine(root).map(|bytes| Allowance { bytes, group: None });
        groups(root).into_iter().chain(machine).min_by_key(|allowance| allowance.bytes)
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Bytes(self.bytes))?;
        match &self.group {
            Some(name) => write!(f, ", the limit of control group {name}"),
            None => Ok(()),
        }
    }
}

fn read(root: &Path, file: impl AsRef<Path>) -> Option<String> {
    let file = file.as_ref();
    std::fs::read_to_string(root.join(file.strip_prefix("/").unwrap_or(file))).ok()
}

/// What the machine has left, pages of files counted that can be read again.
fn machine(root: &Path) -> Option<u64> {
    let text = read(root, "proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// The names of a version's files.
struct Version {
    limits: &'static [&'static str],
    usage: &'static str,
    /// The lines of `memory.stat` that count pages of files, those of groups below counted in.
    files: [&'static str; 2],
}

const V1: Version = Version {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
};

const V2: Version = Version {
    // Above `high` a group is slowed down until it is below again.
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    files: ["inactive_file", "active_file"],
};

/// What is left in each control group with a limit that this process is in, whatever the version.
fn groups(root: &Path) -> Vec<Allowance> {
    let found = || {
        let (groups, mounts) =
            (read(root, "proc/self/cgroup")?, read(root, "proc/self/mountinfo")?);
        let mut all = Vec::new();
        for line in groups.lines() {
            // number:controllers:path
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let version = match controllers {
                "" => &V2,
                _ if controllers.split(',').any(|name| name == "memory") => &V1,
                _ => continue,
            };
            let Some((mounted, at)) = mount(&mounts, controllers.is_empty()) else { continue };
            // In a container the path may be one of the host, and the mount its own group.
            let below = Path::new(path).strip_prefix(&mounted).unwrap_or(Path::new(""));
            for group in below.ancestors() {
                let name = Path::new("/").join(group);
                all.extend(
                    left(root, &at.join(group), version)
                        .map(|bytes| Allowance { bytes, group: Some(name.display().to_string()) }),
                );
            }
        }
        Some(all)
    };
    found().unwrap_or_default()
}

/// Where the groups of a version are mounted: which group, and on which folder.
fn mount(mounts: &str, v2: bool) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        // id parent device root folder options [optional ..] - type source options
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        let here = match v2 {
            true => kind == "cgroup2",
            false => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
        };
        let mut front = front.split(' ').skip(3);
        here.then_some((front.next()?.into(), front.next()?.into()))
    })
}

/// What is left of a group's limit, pages of files counted that can be read again; `None` without a
/// limit.
fn left(root: &Path, folder: &Path, version: &Version) -> Option<u64> {
    let number = |name: &str| read(root, folder.join(name))?.trim().parse::<u64>().ok();
    let limit = version.limits.iter().filter_map(|name| number(name)).min()?;
    // What version 1 has in place of "none": the largest number of whole pages.
    if limit >= 1 << 62 {
        return None;
    }
    let stat = read(root, folder.join("memory.stat")).unwrap_or_default();
    let files = stat.lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        version.files.contains(&name).then(|| count.parse::<u64>().ok())?
    });
    let kept = number(version.usage)?.saturating_sub(files.sum());
    Some(limit.saturating_sub(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn group(bytes: u64, name: &str) -> Option<Allowance> {
        Some(Allowance { bytes, group: Some(name.to_owned()) })
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  8000 kB\nMemFree:  1000 kB\nMemAvailable:   4000 kB\n");

    #[test]
    fn without_groups_it_is_what_the_machine_has_available() {
        let root = system(&[MEMINFO]);
        let machine = Allowance { bytes: 4_096_000, group: None };
        assert_eq!(Allowance::of(root.path()), Some(machine));
        assert_eq!(Allowance::of(system(&[]).path()), None);
    }

    #[test]
    fn a_limit_of_version_1_counts_and_cached_files_do_not() {
        let limit = |bytes| {
            system(&[
                MEMINFO,
                ("proc/self/cgroup", "5:devices:/a\n4:memory:/a/b\n0::/\n"),
                (
                    "proc/self/mountinfo",
                    "30 23 0:26 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
                     31 23 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                     32 23 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
                ),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", bytes),
                ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "700000\n"),
                (
                    "sys/fs/cgroup/memory/a/b/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 400000\ntotal_active_file 200000\n",
                ),
            ])
        };
        assert_eq!(Allowance::of(limit("1000000\n").path()), group(900_000, "/a/b"));
        let none = Allowance::of(limit("9223372036854771712\n").path());
        assert_eq!(none, Some(Allowance { bytes: 4_096_000, group: None }));
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let files = |own: &'static str| {
            system(&[
                MEMINFO,
                ("proc/self/cgroup", "0::/outer/inner\n"),
                (
                    "proc/self/mountinfo",
                    "32 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
                ),
                ("sys/fs/cgroup/outer/memory.max", "3000000\n"),
                ("sys/fs/cgroup/outer/memory.high", "2000000\n"),
                ("sys/fs/cgroup/outer/memory.current", "1500000\n"),
                (
                    "sys/fs/cgroup/outer/memory.stat",
                    "anon 5\ninactive_file 1000000\nactive_file 0\n",
                ),
                ("sys/fs/cgroup/outer/inner/memory.max", own),
                ("sys/fs/cgroup/outer/inner/memory.current", "900000\n"),
            ])
        };
        assert_eq!(Allowance::of(files("max\n").path()), group(1_500_000, "/outer"));
        assert_eq!(Allowance::of(files("1000000\n").path()), group(100_000, "/outer/inner"));
        // A group above its limit has nothing left, rather than less.
        assert_eq!(Allowance::of(files("800000\n").path()), group(0, "/outer/inner"));
    }

    #[test]
    fn in_a_container_the_mount_is_the_group_itself() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/docker/1234\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:27 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n"),
        ]);
        assert_eq!(Allowance::of(root.path()), group(400_000, "/"));
    }

    #[test]
    fn this_machine_says_something() {
        let allowance = Allowance::now().unwrap();
        assert!((1 << 20..1 << 50).contains(&allowance.bytes), "{allowance:?}");
    }
}
