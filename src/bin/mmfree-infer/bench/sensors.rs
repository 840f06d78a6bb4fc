//! What the system tells of the CPU's frequency, heat, throttling and energy.
//!
//! Files and units are those of the Linux kernel's documentation: `cpufreq` (kHz), `thermal` and
//! `hwmon` (thousandths of a degree), `powercap` (microjoules), x86's `thermal_throttle` (counts),
//! and of the Raspberry Pi's firmware, whose flags its documentation lists under `vcgencmd
//! get_throttled`.

use std::fs;
use std::path::{Path, PathBuf};

/// What can be read here. Each part that is missing says why in [`Sensors::notes`].
pub struct Sensors {
    frequencies: Vec<PathBuf>,
    temperature: Option<PathBuf>,
    throttling: Option<Throttling>,
    energy: Vec<EnergyCounter>,
    notes: Vec<String>,
}

/// Where throttling shows.
enum Throttling {
    /// The flags of a Raspberry Pi's firmware, in hexadecimal.
    Firmware(PathBuf),
    /// A Raspberry Pi's alarm for a supply voltage that is too low: 0 or 1.
    UnderVoltage(PathBuf),
    /// Counts of events, as x86 has them.
    Counts(Vec<PathBuf>),
}

struct EnergyCounter {
    /// Microjoules so far.
    path: PathBuf,
    /// Where it starts from 0 again.
    range: u64,
}

/// What the sensors show at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Of the fastest core, MHz: the others may be idle.
    pub mhz: Option<f64>,
    /// Degrees Celsius.
    pub celsius: Option<f64>,
    /// What holds the CPU back at the moment, empty for nothing; `None` where the system does not
    /// say.
    pub throttled: Option<Vec<&'static str>>,
    /// Counts of throttling events.
    events: Vec<u64>,
    /// Microjoules of each counter.
    energy: Vec<u64>,
}

impl Sensors {
    /// Looks for sensors below `root`, `/` but for tests.
    pub fn find(root: &Path) -> Sensors {
        let mut notes = Vec::new();
        let cpus = root.join("sys/devices/system/cpu");
        let mut frequencies = below(&cpus, "cpu", "cpufreq/scaling_cur_freq");
        if frequencies.is_empty() {
            frequencies = below(&cpus, "cpu", "cpufreq/cpuinfo_cur_freq");
        }
        frequencies.retain(|path| number(path).is_some());
        if frequencies.is_empty() {
            notes.push("frequency: not shown by this system (no cpufreq)".to_owned());
        }
        let temperature = temperature(root);
        if temperature.is_none() {
            let note = "temperature: not shown by this system (nothing of the CPU in /sys/class/thermal or hwmon)";
            notes.push(note.to_owned());
        }
        let throttling = throttling(root);
        if throttling.is_none() {
            notes.push("throttling: not shown by this system".to_owned());
        }
        let energy = energy(root).unwrap_or_else(|why| {
            notes.push(format!("energy: {why}"));
            Vec::new()
        });
        Sensors { frequencies, temperature, throttling, energy, notes }
    }

    /// A line for each thing that this system does not show.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads them all.
    pub fn read(&self) -> Reading {
        let fastest = self.frequencies.iter().filter_map(|path| number(path)).max();
        let (mut throttled, mut events) = (None, Vec::new());
        match &self.throttling {
            Some(Throttling::Firmware(path)) => throttled = text(path).and_then(|t| flags(&t)),
            Some(Throttling::UnderVoltage(path)) => {
                throttled = number(path)
                    .map(|alarm| if alarm == 0 { Vec::new() } else { vec!["under-voltage"] });
            }
            Some(Throttling::Counts(paths)) => {
                events = paths.iter().map(|path| number(path).unwrap_or(0)).collect();
            }
            None => {}
        }
        Reading {
            mhz: fastest.map(|khz| khz as f64 / 1e3),
            celsius: self.temperature.as_deref().and_then(degrees),
            throttled,
            events,
            energy: self.energy.iter().map_while(|counter| number(&counter.path)).collect(),
        }
    }

    /// What held the CPU back at the end of an interval or, where events are counted, within it.
    pub fn throttled(&self, before: &Reading, after: &Reading) -> Option<Vec<&'static str>> {
        if after.events.is_empty() {
            return after.throttled.clone();
        }
        Some(if before.events == after.events { Vec::new() } else { vec!["throttled"] })
    }

    /// Joules that the CPU took between two readings.
    pub fn joules(&self, before: &Reading, after: &Reading) -> Option<f64> {
        let counters = self.energy.len();
        if counters == 0 || before.energy.len() != counters || after.energy.len() != counters {
            return None;
        }
        let steps = self.energy.iter().zip(before.energy.iter().zip(&after.energy));
        let microjoules: u64 = steps
            .map(|(counter, (&before, &after))| match after.checked_sub(before) {
                Some(step) => step,
                None => (counter.range + 1).saturating_sub(before) + after,
            })
            .sum();
        Some(microjoules as f64 / 1e6)
    }
}

/// `below/PREFIX<number>/file` for every such folder that has it, by number.
fn below(folder: &Path, prefix: &str, file: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let n = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((n, entry.path().join(file)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Thousandths of a degree to degrees; a sensor that gives what no CPU can have is none.
fn degrees(path: &Path) -> Option<f64> {
    let celsius = text(path)?.parse::<i64>().ok()? as f64 / 1e3;
    (-60.0..=200.0).contains(&celsius).then_some(celsius)
}

/// The CPU's temperature: a thermal zone named for it, else a hwmon sensor, else the only zone.
fn temperature(root: &Path) -> Option<PathBuf> {
    const ZONES: [&str; 5] =
        ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal"];
    const CHIPS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];
    let zones = below(&root.join("sys/class/thermal"), "thermal_zone", "temp");
    let kind = |zone: &Path| text(&zone.with_file_name("type")).unwrap_or_default();
    let named = |zone: &&PathBuf| {
        let kind = kind(zone).to_ascii_lowercase();
        ZONES.contains(&kind.as_str()) || kind.contains("cpu")
    };
    let of_cpu = zones.iter().filter(|zone| degrees(zone).is_some()).find(named).cloned();
    let of_chip = || {
        let sensors = below(&root.join("sys/class/hwmon"), "hwmon", "temp1_input");
        let is_cpu = |path: &PathBuf| {
            let name = text(&path.with_file_name("name")).unwrap_or_default();
            CHIPS.contains(&name.as_str()) && degrees(path).is_some()
        };
        sensors.into_iter().find(is_cpu)
    };
    let only = || zones.first().filter(|zone| zones.len() == 1 && degrees(zone).is_some()).cloned();
    of_cpu.or_else(of_chip).or_else(only)
}

fn throttling(root: &Path) -> Option<Throttling> {
    let soc = root.join("sys/devices/platform/soc");
    for firmware in ["soc:firmware", "firmware"] {
        let path = soc.join(firmware).join("get_throttled");
        if text(&path).and_then(|text| flags(&text)).is_some() {
            return Some(Throttling::Firmware(path));
        }
    }
    let alarms = below(&root.join("sys/class/hwmon"), "hwmon", "in0_lcrit_alarm");
    let is_pi = |path: &PathBuf| text(&path.with_file_name("name")).as_deref() == Some("rpi_volt");
    if let Some(path) = alarms.into_iter().find(is_pi) {
        return Some(Throttling::UnderVoltage(path));
    }
    let cpus = root.join("sys/devices/system/cpu");
    let counts: Vec<PathBuf> = ["core_throttle_count", "package_throttle_count"]
        .iter()
        .flat_map(|name| below(&cpus, "cpu", &format!("thermal_throttle/{name}")))
        .filter(|path| number(path).is_some())
        .collect();
    (!counts.is_empty()).then_some(Throttling::Counts(counts))
}

/// What the low bits of a Raspberry Pi's flags say of the present moment; the high ones are about
/// the time since it started.
fn flags(text: &str) -> Option<Vec<&'static str>> {
    const FLAGS: [&str; 4] =
        ["under-voltage", "frequency capped", "throttled", "temperature limit"];
    let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    Some(FLAGS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, &f)| f).collect())
}

/// The energy counters of the CPU packages, or why there is none.
fn energy(root: &Path) -> Result<Vec<EnergyCounter>, String> {
    let powercap = root.join("sys/class/powercap");
    // intel-rapl:0 is a package, of AMD's too; intel-rapl:0:1 a part of it. The memory-mapped twin
    // of a package would count it twice.
    let mut found = Vec::new();
    for control in ["intel-rapl:", "intel-rapl-mmio:"] {
        if found.is_empty() {
            found = below(&powercap, control, "energy_uj");
            found.retain(|path| {
                text(&path.with_file_name("name")).is_some_and(|name| name.starts_with("package"))
            });
        }
    }
    if found.is_empty() {
        return Err("no counter (no CPU package in /sys/class/powercap)".to_owned());
    }
    let counter = |path: PathBuf| {
        let reason = |error| format!("{}: {error}; as root it can be read", path.display());
        fs::read_to_string(&path).map_err(reason)?;
        let range =
            number(&path.with_file_name("max_energy_range_uj")).unwrap_or(u64::from(u32::MAX));
        Ok(EnergyCounter { path, range })
    };
    found.into_iter().map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system made of these files.
    struct System(tempfile::TempDir);

    impl System {
        fn new(files: &[(&str, &str)]) -> System {
            let system = System(tempfile::tempdir().unwrap());
            files.iter().for_each(|(path, text)| system.write(path, text));
            system
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join("sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }

        fn sensors(&self) -> Sensors {
            Sensors::find(self.0.path())
        }
    }

    const PI: [(&str, &str); 6] = [
        ("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000"),
        ("devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "1800000"),
        ("devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "9"),
        ("class/thermal/thermal_zone0/temp", "48686"),
        ("class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("devices/platform/soc/soc:firmware/get_throttled", "50000"),
    ];

    #[test]
    fn a_raspberry_pi_shows_all_but_energy() {
        let pi = System::new(&PI);
        let sensors = pi.sensors();
        let [note] = sensors.notes() else { panic!("{:?}", sensors.notes()) };
        assert!(note.contains("energy: no counter"), "{note}");
        let before = sensors.read();
        assert_eq!((before.mhz, before.celsius), (Some(1800.0), Some(48.686)));
        assert_eq!(sensors.throttled(&before, &before), Some(vec![]), "old events are not now");
        pi.write("devices/platform/soc/soc:firmware/get_throttled", "5000d");
        pi.write("class/thermal/thermal_zone0/temp", "85200");
        let after = sensors.read();
        let expected = vec!["under-voltage", "throttled", "temperature limit"];
        assert_eq!(sensors.throttled(&before, &after), Some(expected));
        assert_eq!(after.celsius, Some(85.2));
        assert_eq!(sensors.joules(&before, &after), None);
    }

    #[test]
    fn a_pi_without_the_firmwares_flags_shows_its_voltage_alarm() {
        let pi = System::new(&[
            ("class/hwmon/hwmon0/name", "other"),
            ("class/hwmon/hwmon0/in0_lcrit_alarm", "1"),
            ("class/hwmon/hwmon1/name", "rpi_volt"),
            ("class/hwmon/hwmon1/in0_lcrit_alarm", "0"),
        ]);
        let sensors = pi.sensors();
        let before = sensors.read();
        assert_eq!(sensors.throttled(&before, &before), Some(vec![]));
        pi.write("class/hwmon/hwmon1/in0_lcrit_alarm", "1");
        let after = sensors.read();
        assert_eq!(sensors.throttled(&before, &after), Some(vec!["under-voltage"]));
    }

    #[test]
    fn a_pc_shows_energy_over_its_wrap_and_new_throttling_events() {
        let pc = System::new(&[
            ("devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7"),
            ("devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "0"),
            ("class/thermal/thermal_zone0/type", "acpitz"),
            ("class/thermal/thermal_zone0/temp", "20000"),
            ("class/thermal/thermal_zone1/type", "x86_pkg_temp"),
            ("class/thermal/thermal_zone1/temp", "61000"),
            ("class/powercap/intel-rapl:0/name", "package-0"),
            ("class/powercap/intel-rapl:0/energy_uj", "9000000"),
            ("class/powercap/intel-rapl:0/max_energy_range_uj", "9999999"),
            ("class/powercap/intel-rapl:1/name", "package-1"),
            ("class/powercap/intel-rapl:1/energy_uj", "1000000"),
            ("class/powercap/intel-rapl:1/max_energy_range_uj", "9999999"),
            ("class/powercap/intel-rapl:2/name", "psys"),
            ("class/powercap/intel-rapl:2/energy_uj", "5"),
            ("class/powercap/intel-rapl:0:0/name", "core"),
            ("class/powercap/intel-rapl:0:0/energy_uj", "5"),
            ("class/powercap/intel-rapl-mmio:0/name", "package-0"),
            ("class/powercap/intel-rapl-mmio:0/energy_uj", "5"),
        ]);
        let sensors = pc.sensors();
        let before = sensors.read();
        assert_eq!(before.celsius, Some(61.0));
        assert_eq!(sensors.throttled(&before, &before), Some(vec![]));
        pc.write("class/powercap/intel-rapl:0/energy_uj", "500000");
        pc.write("class/powercap/intel-rapl:1/energy_uj", "3000000");
        pc.write("devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "1");
        let after = sensors.read();
        // 1.5 J over the wrap, and 2 J.
        assert_eq!(sensors.joules(&before, &after), Some(3.5));
        assert_eq!(sensors.throttled(&before, &after), Some(vec!["throttled"]));
    }

    #[test]
    fn a_virtual_machine_shows_nothing_and_says_so() {
        let sensors = System::new(&[("class/powercap/intel-rapl/enabled", "1")]).sensors();
        assert_eq!(sensors.notes().len(), 4, "{:?}", sensors.notes());
        assert_eq!(sensors.read(), Reading::default());
    }

    #[test]
    fn files_of_nonsense_are_no_sensors() {
        let files = PI.map(|(path, _)| (path, "garbage"));
        let sensors = System::new(&files).sensors();
        assert_eq!(sensors.notes().len(), 4, "{:?}", sensors.notes());
        let hot = [("class/thermal/thermal_zone0/temp", "2147483647")];
        assert_eq!(System::new(&hot).sensors().read().celsius, None);
    }
}
