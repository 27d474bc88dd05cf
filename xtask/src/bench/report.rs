//! The results for people, as tables, and for machines, as JSON.

use serde_json::{Value, json};

use super::bars::BARS;
use super::measures::Metric;
use super::results::{Row, Side};

/// Metrics of requests that have columns.
const COLUMNS: [Metric; 4] = [Metric::Cpu, Metric::Rate, Metric::P50, Metric::P99];

/// What a run was, beside its results.
pub struct Circumstances {
    /// The name of the scale.
    pub scale: &'static str,
    /// Whether it is the one that the bars are for.
    pub is_full: bool,
    /// Rounds of each workload.
    pub rounds: u32,
    /// Processors of the machine.
    pub processors: usize,
    /// The machine's load (runnable and waiting tasks over a minute) before and after.
    pub load: [String; 2],
    /// What `/version` says: our own server's, the peer's.
    pub versions: [Option<String>; 2],
}

/// Prints everything.
pub fn print(circumstances: &Circumstances, rows: &[Row]) {
    let [own, peer] = &circumstances.versions;
    println!("own  {}", own.as_deref().unwrap_or("?"));
    if let Some(peer) = peer {
        println!("peer {peer}");
    }
    let [before, after] = &circumstances.load;
    println!(
        "scale {}, up to {} rounds, {} processors, load {before} before and {after} after\n",
        circumstances.scale, circumstances.rounds, circumstances.processors
    );
    print_requests(rows, peer.is_some());
    print_figures(rows, peer.is_some());
    // The bars are of servers that hold the full data set.
    if circumstances.is_full {
        print_bars(rows);
    }
    let remarks = rows.iter().flat_map(|row| row.remarks().into_iter().map(move |remark| (row.name, remark)));
    for (at, (name, remark)) in remarks.enumerate() {
        println!("{}! {name}: {remark}", if at == 0 { "\n" } else { "" });
    }
}

/// One line for each workload that is made of operations, the peer's below.
fn print_requests(rows: &[Row], has_peer: bool) {
    let is_of_requests = |row: &&Row| row.own.spread(Metric::Cpu).or(row.peer.spread(Metric::Cpu)).is_some();
    let mut table = Table::default();
    table.add(["requests", "", "cpu/op", "(min-max)", "kernel", "ops/s", "p50", "p99", "bytes/op", "client cpu/op"]);
    for row in rows.iter().filter(is_of_requests) {
        table.add(request_cells(row.name, "own", &row.own));
        if has_peer {
            table.add(request_cells("", "peer", &row.peer));
            let ratio = |metric| row.ratio(metric).map_or_else(String::new, |ratio| format!("{ratio:.1}x"));
            let [cpu, rate, p50, p99] = COLUMNS.map(ratio);
            table.add(["", "ratio", &cpu, "", "", &rate, &p50, &p99, "", ""]);
        }
    }
    table.print();
}

fn request_cells(name: &str, side: &str, results: &Side) -> [String; 10] {
    let shown = |metric| results.spread(metric).map_or_else(|| "-".into(), |spread| shown(metric, spread.median));
    let range = results.spread(Metric::Cpu).map_or_else(String::new, |spread| {
        format!("({}-{})", self::shown(Metric::Cpu, spread.min), self::shown(Metric::Cpu, spread.max))
    });
    [
        name.to_owned(),
        side.to_owned(),
        shown(Metric::Cpu),
        range,
        shown(Metric::Kernel),
        shown(Metric::Rate),
        shown(Metric::P50),
        shown(Metric::P99),
        shown(Metric::Bytes),
        shown(Metric::ClientCpu),
    ]
}

/// One line for each other figure.
fn print_figures(rows: &[Row], has_peer: bool) {
    let mut table = Table::default();
    let head = ["figures", "", "own", "(min-max)"];
    table.add(head.into_iter().chain(has_peer.then_some(["peer", "ratio"]).into_iter().flatten()));
    for row in rows {
        for metric in row.own.metrics().filter(|metric| !metric.is_of_requests()) {
            let own = row.own.spread(metric);
            let mut cells = vec![row.name.to_owned(), metric.name().to_owned()];
            cells.push(own.as_ref().map_or_else(String::new, |own| shown(metric, own.median)));
            cells.push(
                own.map_or_else(String::new, |own| format!("({}-{})", shown(metric, own.min), shown(metric, own.max))),
            );
            if has_peer {
                cells.push(row.peer.spread(metric).map_or_else(|| "-".into(), |peer| shown(metric, peer.median)));
                cells.push(row.ratio(metric).map_or_else(String::new, |ratio| format!("{ratio:.1}x")));
            }
            table.add(cells);
        }
    }
    table.print();
}

fn print_bars(rows: &[Row]) {
    let mut table = Table::default();
    table.add(["bars", "", "", "is", "to be", "ratio", "to be", ""]);
    for bar in BARS {
        let row = rows.iter().find(|row| row.name == bar.workload);
        let Some((row, own)) = row.and_then(|row| Some((row, row.own.spread(bar.metric)?))) else { continue };
        let ratio = row.ratio(bar.metric);
        let or_none = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.1}x"));
        table.add([
            bar.id.to_owned(),
            bar.workload.to_owned(),
            bar.metric.name().to_owned(),
            shown(bar.metric, own.median),
            shown(bar.metric, bar.figure),
            or_none(ratio),
            or_none(bar.ratio),
            if bar.is_reached(own.median, ratio) { "reached" } else { "missed" }.to_owned(),
        ]);
    }
    table.print();
}

/// A value with its unit, in three or more digits.
fn shown(metric: Metric, value: f64) -> String {
    let digits = |value: f64| match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let time = |micros: f64| match micros.abs() {
        0.0..1e3 => format!("{} us", digits(micros)),
        1e3..1e6 => format!("{} ms", digits(micros / 1e3)),
        _ => format!("{} s", digits(micros / 1e6)),
    };
    match metric {
        Metric::Cpu | Metric::ClientCpu => time(value),
        Metric::P50 | Metric::P99 | Metric::Start => time(value * 1e3),
        Metric::Rate => digits(value),
        Metric::Bytes => format!("{value:.0}"),
        Metric::Kernel => format!("{value:.0} %"),
        Metric::Idle => format!("{value:.3} %"),
        Metric::Rss | Metric::ExtraRss | Metric::Program => format!("{} MiB", digits(value)),
        Metric::Watcher => format!("{} KiB", digits(value)),
    }
}

/// Cells that are printed below each other.
#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn add<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints it, unless it has nothing but its head.
    fn print(&self) {
        if self.rows.len() > 1 {
            println!("{}", self.lines().join("\n"));
            println!();
        }
    }

    /// Text to the left, numbers to the right.
    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column| self.rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let is_number = |column| {
            let mut cells = self.rows.iter().skip(1).filter_map(|row: &Vec<String>| row.get(column));
            cells.any(|cell: &String| cell.starts_with(|first: char| first.is_ascii_digit() || first == '('))
        };
        let is_number: Vec<bool> = (0..columns).map(is_number).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&is_number).map(|((cell, &width), number)| match number {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Everything, the value of each round included.
pub fn to_json(circumstances: &Circumstances, rows: &[Row]) -> Value {
    let [own, peer] = &circumstances.versions;
    json!({
        "scale": circumstances.scale,
        "rounds": circumstances.rounds,
        "processors": circumstances.processors,
        "load": circumstances.load,
        "versions": {"own": own, "peer": peer},
        "workloads": rows.iter().map(|row| row_to_json(row, circumstances.is_full)).collect::<Vec<_>>(),
    })
}

fn row_to_json(row: &Row, is_full: bool) -> Value {
    let side = |side: &Side| {
        let figure = |metric: Metric| {
            let spread = side.spread(metric)?;
            let values = side.values(metric);
            let figure = json!({"median": spread.median, "min": spread.min, "max": spread.max, "rounds": values});
            Some((metric.name().to_owned(), figure))
        };
        Value::Object(side.metrics().filter_map(figure).collect())
    };
    let ratios = row.own.metrics().filter_map(|metric| Some((metric.name().to_owned(), row.ratio(metric)?.into())));
    let bars = BARS.iter().filter(|bar| is_full && bar.workload == row.name).filter_map(|bar| {
        let reached = bar.is_reached(row.own.spread(bar.metric)?.median, row.ratio(bar.metric));
        let (metric, ratio, figure) = (bar.metric.name(), bar.ratio, bar.figure);
        Some(json!({"bar": bar.id, "metric": metric, "ratio": ratio, "figure": figure, "reached": reached}))
    });
    json!({
        "name": row.name,
        "own": side(&row.own),
        "peer": side(&row.peer),
        "ratios": Value::Object(ratios.collect()),
        "bars": bars.collect::<Vec<_>>(),
        "remarks": row.remarks(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_units() {
        let check = |metric, value, expected: &str| assert_eq!(shown(metric, value), expected);
        check(Metric::Cpu, 4.216, "4.22 us");
        check(Metric::Cpu, 45.67, "45.7 us");
        check(Metric::Cpu, 999.4, "999 us");
        check(Metric::Cpu, 1_710.0, "1.71 ms");
        check(Metric::Cpu, 1_710_000.0, "1.71 s");
        check(Metric::P99, 0.5, "500 us");
        check(Metric::Start, 2_400.0, "2.40 s");
        check(Metric::Rate, 12_345.6, "12346");
        check(Metric::Idle, 0.0512, "0.051 %");
        check(Metric::Rss, 20.04, "20.0 MiB");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::default();
        table.add(["name", "value"]);
        table.add(["a", "1"]);
        table.add(["longer", "123456"]);
        assert_eq!(table.lines(), ["name     value", "a            1", "longer  123456"]);
    }

    #[test]
    fn machines_get_each_round() {
        let mut row = Row::new("get-pod-c32");
        for cpu in [40.0, 60.0, 50.0] {
            row.own.add(0, Ok([(Metric::Cpu, cpu)].into()));
            row.peer.add(0, Ok([(Metric::Cpu, cpu * 16.0)].into()));
        }
        let found = row_to_json(&row, true);
        assert_eq!(found["own"]["cpu_us_per_op"]["rounds"], json!([40.0, 60.0, 50.0]));
        assert_eq!(found["peer"]["cpu_us_per_op"]["median"], json!(800.0));
        assert_eq!(found["ratios"]["cpu_us_per_op"], json!(16.0));
        assert_eq!(found["bars"][0]["reached"], json!(true));
    }
}
