//! A weather service in Rust: an example of a complete plugin, from the configuration to the responses.
//!
//! - `GET /api/weather/{station}`: the station's newest report, decoded
//! - `GET /api/weather?limit=N`: the stations
//! - `POST /api/weather`: decodes the report in the body
//!
//! The plugin decodes the reports of a file (the configuration's `reports`) once at startup. They do not change
//! afterwards, so any number of calls can run concurrently without a lock.

pub mod metar;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::OnceLock;

use backworks_plugin_sdk::*;

use metar::{is_space, quoted, Report};

/// The manifest.
pub const MANIFEST: &str = include_str!("../manifest.json");

const PREFIX: &str = "/api/weather";
/// Maximum bytes of the reports file.
const FILE_MAX: u64 = 64 << 20;
/// Maximum lines that are logged one by one.
const WARNINGS_MAX: usize = 10;
const LIMIT_DIGITS: usize = 9;

/// A report, with the minute of the month when it was observed.
#[derive(Debug)]
struct Station {
    minute: i32,
    json: String,
}

#[derive(Debug, Default)]
pub struct WeatherPlugin {
    host: OnceLock<Host>,
    /// Whether a report with a group that is not understood is refused.
    strict: OnceLock<bool>,
    stations: OnceLock<BTreeMap<String, Station>>,
}

#[async_trait]
impl BackworksPlugin for WeatherPlugin {
    fn name(&self) -> &str {
        "weather_rust"
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn description(&self) -> &str {
        "Decodes METAR aviation weather reports and serves them by station"
    }

    fn attach(&self, host: Host) {
        self.host.get_or_init(|| host);
    }

    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        let strict = match config.get("strict") {
            _ if !config.is_object() => {
                return Err(PluginError::invalid_argument("the configuration is no JSON object"));
            }
            None => false,
            Some(Value::Bool(strict)) => *strict,
            Some(_) => return Err(PluginError::invalid_argument("`strict` is not true or false")),
        };
        self.strict.get_or_init(|| strict);
        let stations = match config.get("reports") {
            None => BTreeMap::new(),
            Some(Value::String(path)) if !path.contains('\0') => self.keep_all(&read_all(path)?),
            Some(_) => {
                let message = "`reports` is the name of a file, as text without NUL";
                return Err(PluginError::invalid_argument(message));
            }
        };
        self.stations.get_or_init(|| stations);
        Ok(())
    }

    async fn process_endpoint_data(
        &self,
        endpoint: &str,
        method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        self.answer(endpoint, method, data)
    }
}

export_plugin!(WeatherPlugin, MANIFEST);

impl WeatherPlugin {
    fn log(&self, level: Level, text: String) {
        if let Some(host) = self.host.get() {
            host.log(level, text);
        }
    }

    fn decode<'a>(&self, report: &'a [u8]) -> Result<Report<'a>, String> {
        Report::decode(report, self.strict.get().copied().unwrap_or_default())
    }

    fn keep_all(&self, file: &[u8]) -> BTreeMap<String, Station> {
        let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file); // a byte order mark
        let mut stations = BTreeMap::new();
        let mut skipped = 0;
        for (index, line) in file.split(|&byte| byte == b'\n').enumerate() {
            if line.iter().all(|&byte| is_space(byte)) || line[0] == b'#' {
                continue;
            }
            match self.decode(line) {
                Ok(report) => keep(&mut stations, &report),
                Err(message) => {
                    skipped += 1;
                    if skipped <= WARNINGS_MAX {
                        let number = index + 1;
                        self.log(
                            Level::Warning,
                            format!("line {number} of the reports is skipped: {message}"),
                        );
                    }
                }
            }
        }
        if skipped > WARNINGS_MAX {
            self.log(Level::Warning, format!("{skipped} lines of the reports are skipped in all"));
        }
        self.log(Level::Info, format!("stations with a report: {}", stations.len()));
        stations
    }

    fn answer(&self, endpoint: &str, method: &str, data: &str) -> PluginResult<Option<String>> {
        // Over HTTP the host sends the request as JSON, so the plugin can be mounted at any path.
        let json = data.trim_matches([' ', '\t', '\r', '\n']);
        let request: Option<Value> = match json.starts_with('{') {
            true => Some(serde_json::from_str(json).map_err(|_| {
                PluginError::invalid_argument("the data begins like the JSON of a request, but is not JSON")
            })?),
            false => None,
        };
        let look_up = |outer: &str, inner: &str| request.as_ref()?.get(outer)?.get(inner);
        let mut station = look_up("path_params", "station").and_then(Value::as_str);
        let mut mine = request.as_ref().is_some_and(|request| request.get("path_params").is_some());

        // A direct caller can put the station and the limit into the endpoint instead.
        let (path, query) = endpoint.split_once('?').unwrap_or((endpoint, ""));
        if let Some(rest) = path.strip_prefix(PREFIX) {
            let segment = rest.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/'));
            mine = mine || matches!(rest, "" | "/") || segment.is_some();
            station = station.or(segment.filter(|name| !name.starts_with('{')));
        }
        match (method, station) {
            ("GET", Some(name)) if mine => self.answer_station(&name.to_ascii_uppercase()).map(Some),
            ("GET", None) if mine => {
                let limit = match look_up("query", "limit") {
                    Some(Value::String(limit)) => Some(limit.as_str()),
                    Some(_) => {
                        let message = "limit is given more than once, or is no text";
                        return Err(PluginError::invalid_argument(message));
                    }
                    None => query.strip_prefix("limit="),
                };
                Ok(Some(self.answer_list(limit.map_or(Ok(usize::MAX), read_limit)?)))
            }
            ("POST", None) if mine => {
                let report = match &request {
                    None => data,
                    Some(request) => request.get("body").and_then(Value::as_str).ok_or_else(|| {
                        PluginError::invalid_argument("the body is no text; send one report as text/plain")
                    })?,
                };
                let report = self.decode(report.as_bytes()).map_err(PluginError::invalid_argument)?;
                Ok(Some(report.to_json()))
            }
            _ => Ok(None),
        }
    }

    fn answer_station(&self, name: &str) -> PluginResult<String> {
        let station = self.stations.get().and_then(|stations| stations.get(name));
        station
            .map(|station| station.json.clone())
            .ok_or_else(|| PluginError::not_found(format!("no report for station {}", quoted(name))))
    }

    fn answer_list(&self, limit: usize) -> String {
        let names: Vec<&str> =
            self.stations.get().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let shown = json!(names[..limit.min(names.len())]);
        format!("{{\"count\":{},\"stations\":{shown}}}", names.len())
    }
}

/// Parses a limit: digits that form a number above zero.
fn read_limit(text: &str) -> PluginResult<usize> {
    let digits = text.len() <= LIMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&limit| digits && limit > 0).ok_or_else(|| {
        PluginError::invalid_argument(format!("limit is '{}'; 1 to 999999999 is accepted", quoted(text)))
    })
}

/// A report has a day but no month: if two are more than half a month apart, the month has changed between them and the
/// higher day is the older one. If two are from the same minute, the later one in the file wins.
fn is_newer(minute: i32, than: i32) -> bool {
    let half_a_month = 15 * 24 * 60;
    let later = minute - than;
    later < -half_a_month || (0..=half_a_month).contains(&later)
}

/// Stores a report, unless there is a newer one of its station.
fn keep(stations: &mut BTreeMap<String, Station>, report: &Report) {
    let minute = (report.day * 24 + report.hour) * 60 + report.minute;
    let known = stations.get(report.station);
    if known.map_or(true, |known| is_newer(minute, known.minute)) {
        let json = report.to_json();
        stations.insert(report.station.to_owned(), Station { minute, json });
    }
}

fn read_all(path: &str) -> PluginResult<Vec<u8>> {
    let mut data = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut data)) {
        Ok(size) if size as u64 <= FILE_MAX => Ok(data),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(PluginError::not_found(format!("there is no file '{path}', which should hold the reports")))
        }
        _ => Err(PluginError::invalid_argument(format!(
            "'{path}', which should hold the reports, is not a readable file of at most 64 MiB"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_agrees_with_the_plugin() {
        check_manifest(&WeatherPlugin::default(), MANIFEST).unwrap();
    }

    #[test]
    fn a_report_is_decoded() {
        let plugin = WeatherPlugin::default();
        let report = "KJFK 092351Z 36005KT 2 1/2SM -RA OVC012 05/M06 A2992";

        let answer = block_on(plugin.process_endpoint_data("/api/weather", "POST", report)).unwrap().unwrap();

        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["visibility_mi"], 2.5);
        assert_eq!(answer["flight_category"], "IFR");
    }

    #[test]
    fn an_unknown_station_is_not_found() {
        let plugin = WeatherPlugin::default();
        block_on(plugin.initialize(&json!({}))).unwrap();

        let answer = block_on(plugin.process_endpoint_data("/api/weather/KJFK", "GET", ""));

        assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    }
}
