//! A decoder of METAR and SPECI reports: WMO No. 306, FM 15, and US Federal Meteorological Handbook No. 1.
//!
//! It runs in time linear in the size of the report, which is bounded.

use std::fmt::{self, Write};

use backworks_plugin_sdk::json;

/// Maximum bytes of a report; real ones have at most a few hundred.
const METAR_MAX: usize = 2048;
const LAYERS: usize = 16;
const WEATHER: usize = 16;

/// A layer of clouds: its cover, and its base in feet above the ground, if known.
type Layer = (Option<&'static str>, Option<i32>);

/// A decoded report. Numbers are integers, scaled as the comments state, and `None` if the report lacks them.
#[derive(Debug, Default)]
pub struct Report<'a> {
    raw: &'a str,
    pub station: &'a str,
    /// "METAR" or "SPECI", if the report contains it.
    kind: Option<&'a str>,
    automatic: bool,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    /// Degrees; `None` if variable.
    direction: Option<i32>,
    /// Knots.
    speed: Option<i32>,
    gust: Option<i32>,
    /// Hundredths of a statute mile.
    visibility: Option<i32>,
    weather: Vec<&'a str>,
    sky: Vec<Layer>,
    /// Feet.
    vertical_visibility: Option<i32>,
    /// Tenths of a degree Celsius.
    temperature: Option<i32>,
    dewpoint: Option<i32>,
    /// Hundredths of an inch of mercury.
    altimeter: Option<i32>,
    /// Tenths of a hectopascal.
    sea_level_pressure: Option<i32>,
}

pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Makes any text safe for a message: at most 24 bytes, with '?' for everything except printable ASCII.
pub fn quoted(text: &str) -> String {
    let printable = |byte| {
        if matches!(byte, b' '..=b'~') {
            byte as char
        } else {
            '?'
        }
    };
    let mut quoted: String = text.bytes().take(24).map(printable).collect();
    if text.len() > 24 {
        quoted.push_str("...");
    }
    quoted
}

// Functions that parse a group. Each advances past what it has parsed, or leaves the group unchanged.

fn take(g: &mut &str, word: &str) -> bool {
    g.strip_prefix(word).map(|rest| *g = rest).is_some()
}

fn take_one(g: &mut &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|word| take(g, word))
}

/// Takes as many digits as there are up to `max`; returns their value, or `None` if they are fewer than `min`.
fn digits(g: &mut &str, min: usize, max: usize) -> Option<i32> {
    let size = g.bytes().take(max).take_while(u8::is_ascii_digit).count();
    if size < min {
        return None;
    }
    let (number, rest) = g.split_at(size);
    *g = rest;
    number.parse().ok()
}

/// Takes digits, or the slashes that replace a missing value: `Some(None)`.
fn digits_or(g: &mut &str, min: usize, max: usize, slashes: &str) -> Option<Option<i32>> {
    match digits(g, min, max) {
        None => take(g, slashes).then_some(None),
        value => Some(value),
    }
}

/// Takes "07", "M07", or "//" and "XX" for a missing value; the value is in tenths.
fn degrees(g: &mut &str) -> Option<Option<i32>> {
    let sign = if take(g, "M") { -10 } else { 10 };
    match digits_or(g, 2, 2, "//") {
        None => (sign > 0 && take(g, "XX")).then_some(None),
        value => value.map(|value| value.map(|value| value * sign)),
    }
}

/// Whether the whole group matches a pattern: '9' is a digit, '0' a digit or a slash in its place, '?' makes the
/// preceding character optional; all others match themselves.
fn like(g: &str, shape: &str) -> bool {
    let (mut g, mut shape) = (g.as_bytes(), shape.as_bytes());
    while let [wanted, rest @ ..] = shape {
        let optional = rest.first() == Some(&b'?');
        let fits = g.first().is_some_and(|byte| match wanted {
            b'9' => byte.is_ascii_digit(),
            b'0' => byte.is_ascii_digit() || *byte == b'/',
            _ => byte == wanted,
        });
        if fits {
            g = &g[1..];
        } else if !optional {
            return false;
        }
        shape = &rest[usize::from(optional)..];
    }
    g.is_empty()
}

/// Hundredths of a statute mile, of 1609.344 m.
fn from_metres(metres: i32) -> i32 {
    ((i64::from(metres) * 100_000 + 804_672) / 1_609_344) as i32
}

/// Groups that are not part of the response: corrections, missing values, varying wind, wind shear, runways, the sea,
/// military colour states, and the maintenance indicator.
#[rustfmt::skip]
const IGNORED: [&str; 44] = [
    "COR", "CCA", "CCB", "CCC", "CCD", "AMD", "RTD", "NIL", "NSW", "$", "///?/?/?/?/?/?/?", "KT", "999V999",
    "WS", "ALL", "TKOF", "LDG", "RWYS?", "RW?Y?99L?C?R?", "R99L?L?C?R?R?/P?M?0000F?T?/?U?D?N?",
    "R99L?L?C?R?R?/P?M?9999VP?M?9999F?T?/?U?D?N?", "R99L?L?C?R?R?/000000", "R99L?L?C?R?R?/CLRD00",
    "R99L?L?C?R?R?/SNOCLO", "99000000", "99CLRD00", "R?/?SNOCLO", "WM?00/S0", "WM?00/H00?0?", "BLU+?", "WHT", "GRN",
    "YLO1?2?", "AMB", "RED", "BLACK", "BLACKBLU+?", "BLACKWHT", "BLACKGRN", "RE//", "///CB",
    "///TCU", "////SM", "////NDV",
];

/// These start a forecast, which ends at the remarks.
const TRENDS: [&str; 6] = ["NOSIG", "TEMPO", "BECMG", "INTER", "PROB90", "FM999999?9?"];

fn is_one_of(g: &str, shapes: &[&str]) -> bool {
    shapes.iter().any(|shape| like(g, shape))
}

/// The groups of the body. Each function returns `Some` if the group is of its kind and its values are usable.
impl<'a> Report<'a> {
    fn ignored(&mut self, g: &str) -> Option<()> {
        self.automatic = self.automatic || g == "AUTO";
        (g == "AUTO" || is_one_of(g, &IGNORED)).then_some(())
    }

    /// "24015G25KT", "VRB02MPS", "240P99KT", "/////KT".
    fn wind(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let direction = match digits_or(g, 3, 3, "///") {
            Some(direction) => direction,
            None => take(g, "VRB").then_some(None)?,
        };
        take(g, "P");
        let speed = digits_or(g, 2, 3, "//")?;
        let mut gust = None;
        if take(g, "G") {
            take(g, "P");
            gust = digits_or(g, 2, 3, "//")?;
        }
        let millionths: i64 = match take_one(g, &["KT", "MPS", "KMH"])? {
            "KT" => 1_000_000,
            "MPS" => 1_943_844,
            _ => 539_957,
        };
        if self.speed.is_some() || direction > Some(360) || !g.is_empty() {
            return None;
        }
        let knots = |speed| ((i64::from(speed) * millionths + 500_000) / 1_000_000) as i32;
        self.direction = direction;
        self.speed = speed.map(knots);
        self.gust = gust.map(knots);
        Some(())
    }

    /// "9999" (10 km or more), "3000SW", "0800NDV"; "CAVOK".
    fn visibility(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let known = self.visibility.is_some();
        if *g == "CAVOK" && !known {
            self.visibility = Some(from_metres(10_000));
            return self.add_layer(Some("CAVOK"), None);
        }
        let metres = digits(g, 4, 4)?;
        let directed = take_one(g, &["NDV", "NE", "NW", "N", "SE", "SW", "S", "E", "W"]).is_some();
        if !g.is_empty() || (known && !directed) {
            return None;
        }
        // The first group is the prevailing visibility; others are for single directions.
        self.visibility = self.visibility.or(Some(from_metres(if metres == 9999 { 10_000 } else { metres })));
        Some(())
    }

    /// "10SM", "P6SM", "M1/4SM", "1 1/2SM"; "10KM".
    fn visibility_in_miles(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        take_one(g, &["P", "M"]);
        let (mut whole, mut over, mut under) = (digits(g, 1, 2)?, 0, 1);
        if take(g, "/") {
            (over, whole, under) = (whole, 0, digits(g, 1, 2)?);
        } else if g.bytes().next().is_some_and(is_space) {
            *g = trimmed(g);
            over = digits(g, 1, 2)?;
            take(g, "/").then_some(())?;
            under = digits(g, 1, 2)?;
        }
        let kilometres = under == 1 && take(g, "KM");
        if (!kilometres && !take(g, "SM")) || !g.is_empty() || self.visibility.is_some() || over >= under {
            return None;
        }
        let fraction = (over * 200 + under) / (2 * under);
        self.visibility = Some(if kilometres { from_metres(whole * 1000) } else { whole * 100 + fraction });
        Some(())
    }

    /// "-RA", "+TSRAGR", "VCSH", "FZFG"; "RERA" is recent weather, which has ended.
    fn weather(&mut self, all: &'a str) -> Option<()> {
        const DESCRIPTORS: [&str; 8] = ["MI", "PR", "BC", "DR", "BL", "SH", "TS", "FZ"];
        const PHENOMENA: [&str; 22] = [
            "DZ", "RA", "SN", "SG", "IC", "PL", "GR", "GS", "UP", "BR", "FG", "FU", "VA", "DU", "SA", "HZ",
            "PY", "PO", "SQ", "FC", "SS", "DS",
        ];
        let g = &mut &*all;
        let recent = take(g, "RE");
        take_one(g, &["-", "+", "VC"]);
        let mut last = "";
        while let Some(descriptor) = take_one(g, &DESCRIPTORS) {
            last = descriptor;
        }
        let mut enough = last == "TS" || last == "SH";
        while take_one(g, &PHENOMENA).is_some() {
            enough = true;
        }
        if !enough || !g.is_empty() || self.weather.len() == WEATHER {
            return None;
        }
        if !recent {
            self.weather.push(all);
        }
        Some(())
    }

    /// "FEW008", "BKN020CB", "OVC010///", "///015", "VV002", "VV///", and the codes for a sky without clouds.
    fn sky(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        if let Some(clear) = take_one(g, &["CLR", "SKC", "NSC", "NCD"]) {
            return if g.is_empty() { self.add_layer(Some(clear), None) } else { None };
        }
        let cover = take_one(g, &["FEW", "SCT", "BKN", "OVC", "VV", "///"])?;
        let feet = digits_or(g, 3, 3, "///")?.map(|hundreds| hundreds * 100);
        take_one(g, &["CB", "TCU", "///"]);
        if !g.is_empty() {
            return None;
        }
        match cover {
            // An obscured sky: the number is the vertical visibility.
            "VV" => {
                self.vertical_visibility = feet;
                self.add_layer(Some("OVX"), Some(0))
            }
            "///" => self.add_layer(None, feet),
            _ => self.add_layer(Some(cover), feet),
        }
    }

    fn add_layer(&mut self, cover: Option<&'static str>, base: Option<i32>) -> Option<()> {
        if self.sky.len() == LAYERS {
            return None;
        }
        self.sky.push((cover, base));
        Some(())
    }

    /// "05/M06", "05/", "///05".
    fn temperature(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let air = degrees(g)?;
        take(g, "/").then_some(())?;
        let dew = if g.is_empty() { None } else { degrees(g)? };
        if self.temperature.is_some() || !g.is_empty() {
            return None;
        }
        self.temperature = air;
        self.dewpoint = dew;
        Some(())
    }

    /// "A2992" in hundredths of an inch, "Q1013" in hectopascals. If both are given, the inches are more precise.
    fn pressure(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let inches = take_one(g, &["A", "Q"])? == "A";
        let value = digits_or(g, 4, 4, "////")?;
        if !g.is_empty() {
            return None;
        }
        if let Some(value) = value.filter(|_| inches || self.altimeter.is_none()) {
            let converted = (i64::from(value) * 29_529_983 + 5_000_000) / 10_000_000;
            self.altimeter = Some(if inches { value } else { converted as i32 });
        }
        Some(())
    }

    /// "T10111028": tenths for the temperatures; "SLP134": 1013.4 hPa, because the value nearer to 1000 is meant.
    fn remark(&mut self, mut g: &str) {
        let signed = |at: usize| matches!(g.as_bytes().get(at), None | Some(b'0' | b'1'));
        if (like(g, "T9999") || like(g, "T99999999")) && signed(1) && signed(5) {
            let g = &mut g;
            take(g, "T");
            let mut tenths = || {
                let sign = if digits(g, 1, 1)? == 1 { -1 } else { 1 };
                digits(g, 3, 3).map(|tenths| tenths * sign)
            };
            self.temperature = tenths();
            self.dewpoint = tenths().or(self.dewpoint);
        } else if like(g, "SLP999") {
            take(&mut g, "SLP");
            let tenths = digits(&mut g, 3, 3);
            self.sea_level_pressure = tenths.map(|tenths| tenths + if tenths < 500 { 10_000 } else { 9_000 });
        }
    }
}

/// Reads the report group by group; `group` is empty at the end.
struct Reader<'a> {
    text: &'a str,
    /// The start and the end of the group in the text.
    start: usize,
    end: usize,
    number: usize,
}

impl<'a> Reader<'a> {
    fn group(&self) -> &'a str {
        &self.text[self.start..self.end]
    }

    fn advance(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let run = |from: usize, spaces: bool| {
            from + bytes[from..].iter().take_while(|&&byte| is_space(byte) == spaces).count()
        };
        self.start = run(self.end, true);
        self.end = run(self.start, false);
        self.number += 1;
        self.group()
    }
}

impl<'a> Report<'a> {
    /// Decodes a report.
    ///
    /// # Errors
    ///
    /// The message names the group that is not understood, and its position.
    pub fn decode(raw: &'a [u8]) -> Result<Self, String> {
        let first = raw.iter().position(|&byte| !is_space(byte)).unwrap_or(raw.len());
        let last = raw.iter().rposition(|&byte| !is_space(byte)).map_or(first, |last| last + 1);
        if last - first > METAR_MAX {
            return Err(format!("the report has {} bytes; at most {METAR_MAX} are taken", last - first));
        }
        let strange = |&byte: &u8| !is_space(byte) && !matches!(byte, b' '..=b'~');
        if let Some(at) = raw.iter().position(strange) {
            return Err(format!(
                "byte 0x{:02x} at column {} is not printable ASCII, as a report is",
                raw[at],
                at + 1
            ));
        }
        let text = std::str::from_utf8(&raw[..last]).map_err(|error| error.to_string())?;
        let mut report = Self { raw: &text[first..], ..Self::default() };
        // The end of a report in a bulletin.
        let text = text.strip_suffix('=').unwrap_or(text);
        let mut reader = Reader { text, start: 0, end: 0, number: 0 };
        let read = report.read_header(&mut reader).and_then(|()| report.read_body(&mut reader));
        let (number, group) = (reader.number, quoted(reader.group()));
        match read {
            Ok(()) => Ok(report),
            Err(wrong) if group.is_empty() => {
                Err(format!("the report ends before group {number}: there is {wrong}"))
            }
            Err(wrong) => Err(format!("group {number} '{group}' at column {} is {wrong}", reader.start + 1)),
        }
    }

    fn read_header(&mut self, reader: &mut Reader<'a>) -> Result<(), &'static str> {
        let mut g = reader.advance();
        if matches!(g, "METAR" | "SPECI") {
            self.kind = Some(g);
            g = reader.advance();
        }
        if g == "COR" {
            g = reader.advance();
        }
        let letters_or_digits = g.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if g.len() != 4 || !letters_or_digits || g.as_bytes()[0].is_ascii_digit() {
            return Err("no station (four letters or digits, the first a letter)");
        }
        self.station = g;
        let g = reader.advance();
        let number = |at: usize| g[at..at + 2].parse().unwrap_or(0);
        if like(g, "999999Z") {
            (self.day, self.hour, self.minute) = (number(0), number(2), number(4));
        }
        if !(1..=31).contains(&self.day) || self.hour > 23 || self.minute > 59 {
            return Err("no time of observation (ddhhmmZ)");
        }
        Ok(())
    }

    fn read_body(&mut self, reader: &mut Reader<'a>) -> Result<(), &'static str> {
        let (mut in_trend, mut in_remarks) = (false, false);
        loop {
            let mut g = reader.advance();
            if g.is_empty() {
                return Ok(());
            }
            if in_remarks {
                self.remark(g);
                continue;
            }
            in_remarks = g == "RMK";
            in_trend = in_trend || is_one_of(g, &TRENDS);
            if in_remarks || in_trend {
                continue;
            }
            let mut next = Reader { ..*reader };
            if like(g, "99?") && like(next.advance(), "99?/99?SM") {
                // "1 1/2SM" is one group in two words.
                reader.end = next.end;
                g = reader.group();
            }
            self.ignored(g)
                .or_else(|| self.wind(g))
                .or_else(|| self.visibility(g))
                .or_else(|| self.visibility_in_miles(g))
                .or_else(|| self.weather(g))
                .or_else(|| self.sky(g))
                .or_else(|| self.temperature(g))
                .or_else(|| self.pressure(g))
                .ok_or("not understood")?;
        }
    }

    /// The categories of the US National Weather Service; `None` if visibility or ceiling is unknown.
    fn flight_category(&self) -> Option<&'static str> {
        let visibility = self.visibility?;
        let mut ceiling = i32::MAX;
        for &(cover, base) in &self.sky {
            match cover? {
                "BKN" | "OVC" => ceiling = ceiling.min(base?),
                "OVX" => ceiling = ceiling.min(self.vertical_visibility?),
                _ => {}
            }
        }
        match (ceiling, visibility) {
            _ if self.sky.is_empty() => None,
            (..=499, _) | (_, ..=99) => Some("LIFR"),
            (..=999, _) | (_, ..=299) => Some("IFR"),
            (..=3000, _) | (_, ..=500) => Some("MVFR"),
            _ => Some("VFR"),
        }
    }

    /// The response, written by hand to fix the order of its members.
    pub fn to_json(&self) -> String {
        let number = |value, scale| Decimal { value, scale };
        let wind = match (self.direction, self.speed) {
            (None, None) => "null".to_owned(),
            _ => format!(
                r#"{{"direction_deg":{},"speed_kt":{},"gust_kt":{}}}"#,
                number(self.direction, 1),
                number(self.speed, 1),
                number(self.gust, 1)
            ),
        };
        let layers = self
            .sky
            .iter()
            .map(|&(cover, base)| format!(r#"{{"cover":{},"base_ft":{}}}"#, json!(cover), number(base, 1)));
        let sky = match self.sky.is_empty() {
            true => "null".to_owned(),
            false => format!("[{}]", layers.collect::<Vec<_>>().join(",")),
        };
        let weather = (!self.weather.is_empty()).then(|| self.weather.join(" "));
        let mut out = String::new();
        let mut member = |name: &str, value: &dyn fmt::Display| {
            let comma = if out.is_empty() { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}\"{name}\":{value}");
        };
        let (day, hour, minute) = (self.day, self.hour, self.minute);
        member("station", &json!(self.station));
        member("observed", &format_args!(r#"{{"day":{day},"hour":{hour},"minute":{minute}}}"#));
        member("type", &json!(self.kind));
        member("auto", &self.automatic);
        member("wind", &wind);
        member("visibility_mi", &number(self.visibility, 100));
        member("weather", &json!(weather));
        member("sky", &sky);
        member("vertical_visibility_ft", &number(self.vertical_visibility, 1));
        member("temperature_c", &number(self.temperature, 10));
        member("dewpoint_c", &number(self.dewpoint, 10));
        member("altimeter_inhg", &number(self.altimeter, 100));
        member("sea_level_pressure_hpa", &number(self.sea_level_pressure, 10));
        member("flight_category", &json!(self.flight_category()));
        member("raw", &json!(self.raw));
        out + "}"
    }
}

/// An integer scaled by a power of ten, which keeps the number exact: "7", "0.25", "-0.5".
struct Decimal {
    value: Option<i32>,
    scale: i32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.value else {
            return f.write_str("null");
        };
        let sign = if value < 0 { "-" } else { "" };
        let (whole, part) = (value.abs() / self.scale, value.abs() % self.scale);
        write!(f, "{sign}{whole}")?;
        match part {
            0 => Ok(()),
            part if part * 10 % self.scale == 0 => write!(f, ".{}", part * 10 / self.scale),
            part => write!(f, ".{part:02}"),
        }
    }
}
