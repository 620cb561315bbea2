//! A decoder of METAR and SPECI reports: WMO No. 306, FM 15, and US Federal Meteorological Handbook No. 1.
//!
//! It runs in time linear in the size of the report, which is bounded.

use std::fmt::{self, Write};

use backworks_plugin_sdk::json;

/// Maximum bytes of a report; real ones have at most a few hundred.
const METAR_MAX: usize = 2048;
const LAYERS: usize = 16;
const GROUPS: usize = 16;
/// Maximum words of a group.
const WORDS: usize = 16;
#[rustfmt::skip]
const COMPASS: [&str; 19] = [
    "NNE", "NNW", "NE", "NW", "N", "ENE", "ESE", "E", "SSE", "SSW", "SE", "SW", "S", "WNW", "WSW", "W",
    "ALQDS", "ALL", "OHD",
];

/// A layer of clouds: its cover, its base in feet above the ground, and "CB" or "TCU", if known.
#[derive(Debug)]
struct Layer {
    cover: Option<&'static str>,
    base: Option<i32>,
    kind: Option<&'static str>,
}

/// A decoded report. Numbers are integers, scaled as the comments state, and `None` if the report lacks them.
#[derive(Debug, Default)]
pub struct Report<'a> {
    raw: &'a str,
    pub station: &'a str,
    /// "METAR" or "SPECI", if the report contains it.
    kind: Option<&'a str>,
    automatic: bool,
    /// Whether the wind is estimated.
    estimated: bool,
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
    /// The minimum visibility, and its direction.
    minimum: Option<(i32, Option<&'static str>)>,
    /// These lists contain groups as they are.
    runway_visual_range: Vec<&'a str>,
    weather: Vec<&'a str>,
    runway_state: Vec<&'a str>,
    colour_state: Vec<&'a str>,
    sky: Vec<Layer>,
    /// Feet.
    vertical_visibility: Option<i32>,
    /// "CB" or "TCU", and directions with separators.
    convection: Vec<(&'static str, &'a str)>,
    /// Tenths of a degree Celsius.
    temperature: Option<i32>,
    dewpoint: Option<i32>,
    /// Hundredths of an inch of mercury.
    altimeter: Option<i32>,
    /// Tenths of a hectopascal.
    altimeter_hpa: Option<i32>,
    sea_level_pressure: Option<i32>,
    station_pressure: Option<i32>,
    /// Tenths of a millimetre.
    rain_10_minutes: Option<i32>,
    rain_since_9: Option<i32>,
    /// The groups that are not understood, and where each starts in `raw`, from 1.
    unparsed: Vec<(&'a str, usize)>,
}

pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_space(g: &mut &str) {
    *g = g.trim_start_matches([' ', '\t', '\r', '\n']);
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

/// Takes as many digits as there are up to `max`, and the letter O for a zero; returns their value, or `None` if they
/// are fewer than `min`.
fn digits(g: &mut &str, min: usize, max: usize) -> Option<i32> {
    let value =
        |byte: u8| if byte == b'O' { Some(0) } else { byte.is_ascii_digit().then(|| i32::from(byte - b'0')) };
    let size = g.bytes().take(max).take_while(|&byte| value(byte).is_some()).count();
    if size < min {
        return None;
    }
    let (number, rest) = g.split_at(size);
    *g = rest;
    Some(number.bytes().filter_map(value).fold(0, |number, digit| number * 10 + digit))
}

/// Takes digits, or the slashes that replace a missing value: `Some(None)`.
fn digits_or(g: &mut &str, min: usize, max: usize, slashes: &str) -> Option<Option<i32>> {
    match digits(g, min, max) {
        None => take(g, slashes).then_some(None),
        value => Some(value),
    }
}

/// Takes "07", "M07", or "//", "XX", "MM" and "M" for a missing value; the value is in tenths.
fn degrees(g: &mut &str) -> Option<Option<i32>> {
    if take_one(g, &["//", "XX", "MM"]).is_some() {
        return Some(None);
    }
    let below_zero = take_one(g, &["M", "-"]).is_some();
    match digits(g, 1, 2) {
        None => (below_zero && (g.is_empty() || g.starts_with('/'))).then_some(None),
        Some(whole) => Some(Some(if below_zero { -10 * whole } else { 10 * whole })),
    }
}

/// Takes directions with separators: "NE", "N/NE", "S, SW-W", "E,".
fn directions(g: &mut &str) -> bool {
    let mut rest = *g;
    if take_one(&mut rest, &COMPASS).is_none() {
        return false;
    }
    loop {
        let before = rest.len();
        take(&mut rest, ",");
        *g = rest;
        rest = rest.trim_start_matches(['/', '-', ' ', '\t', '\r', '\n']);
        if rest.len() == before || take_one(&mut rest, &COMPASS).is_none() {
            return true;
        }
    }
}

/// Takes what one character of a shape stands for.
fn take_shape(g: &mut &str, shape: u8) -> bool {
    if shape == b'@' {
        return directions(g);
    }
    let fits = g.bytes().next().is_some_and(|byte| match shape {
        b'9' => byte.is_ascii_digit(),
        b'0' => byte.is_ascii_digit() || byte == b'/',
        b' ' => is_space(byte),
        _ => byte == shape,
    });
    if fits && shape == b' ' {
        skip_space(g);
    } else if fits {
        *g = &g[1..];
    }
    fits
}

/// Whether the whole group matches a pattern: '9' is a digit, '0' a digit or a slash in its place, '@' one or more
/// directions, ' ' any white space, '*' everything until the end, and '?' makes the preceding character optional; all
/// others match themselves.
fn like(mut g: &str, shape: &str) -> bool {
    let mut shape = shape.as_bytes();
    while let [wanted, rest @ ..] = shape {
        let optional = rest.first() == Some(&b'?');
        if *wanted == b'*' {
            return true;
        }
        if !take_shape(&mut g, *wanted) && !optional {
            return false;
        }
        shape = &rest[usize::from(optional)..];
    }
    g.is_empty()
}

/// Whether the whole group matches one of the patterns.
fn like_one(g: &str, shapes: &[&str]) -> bool {
    shapes.iter().any(|shape| like(g, shape))
}

/// Takes "00.2", "012.4", or slashes for a missing value; the value is in tenths.
fn millimetres(g: &mut &str, size: usize, missing: &str) -> Option<Option<i32>> {
    if take(g, missing) {
        return Some(None);
    }
    let whole = digits(g, 1, size)?;
    take_one(g, &[".", "/"])?;
    Some(Some(whole * 10 + digits(g, 1, 1)?))
}

/// Takes "A2992", "29.92" and, after hectopascals, "2992"; the value is in hundredths of an inch.
fn inches(g: &mut &str, after: bool) -> Option<Option<i32>> {
    let mut rest = *g;
    if !take(&mut rest, "A") && !after {
        return None;
    }
    skip_space(&mut rest);
    let value = match digits_or(&mut rest, 4, 4, "////") {
        Some(value) => value,
        None => {
            let whole = digits(&mut rest, 2, 2)?;
            take(&mut rest, ".").then_some(())?;
            Some(whole * 100 + digits(&mut rest, 2, 2)?)
        }
    };
    if value.is_some_and(|value| !(2300..3300).contains(&value)) {
        return None;
    }
    *g = rest;
    Some(value)
}

/// Takes "Q1013", "Q998" and "Q1012.3"; the value is in tenths of a hectopascal.
fn hectopascals(g: &mut &str) -> Option<Option<i32>> {
    let mut rest = *g;
    take(&mut rest, "Q").then_some(())?;
    take(&mut rest, "NH");
    skip_space(&mut rest);
    let mut value = None;
    if !take(&mut rest, "////") {
        let whole = digits(&mut rest, 3, 4)?;
        let part = if take(&mut rest, ".") { digits(&mut rest, 1, 1)? } else { 0 };
        value = Some(whole * 10 + part).filter(|value| (8_000..11_000).contains(value));
        value?;
    }
    *g = rest;
    Some(value)
}

/// Takes "0101" and "1101", +10.1 and -10.1 degrees, or slashes for a missing value.
fn tenths_of_degrees(g: &mut &str) -> Option<Option<i32>> {
    if take(g, "////") {
        return Some(None);
    }
    let sign = match digits(g, 1, 1)? {
        0 => 1,
        1 => -1,
        _ => return None,
    };
    Some(Some(sign * digits(g, 3, 3)?))
}

/// Takes a unit of speed; returns how many millionths of a knot it is.
fn speed_unit(g: &mut &str) -> Option<i64> {
    skip_space(g);
    Some(match take_one(g, &["KTS", "KT", "MPS", "KMH"])? {
        "MPS" => 1_943_844,
        "KMH" => 539_957,
        _ => 1_000_000,
    })
}

/// Replaces a temperature by the more precise one, unless they contradict each other.
fn refine(temperature: &mut Option<i32>, tenths: Option<i32>) {
    if let Some(tenths) = tenths {
        if temperature.map_or(true, |rough| (tenths - rough).abs() <= 10) {
            *temperature = Some(tenths);
        }
    }
}

fn add<T>(list: &mut Vec<T>, limit: usize, item: T) -> Option<()> {
    (list.len() < limit).then(|| list.push(item))
}

/// Hundredths of a statute mile, of 1609.344 m.
fn from_metres(metres: i32) -> i32 {
    ((i64::from(metres) * 100_000 + 804_672) / 1_609_344) as i32
}

/// Groups that are not part of the response: corrections, missing values, varying wind, wind shear, the sea, the height
/// below which the sky is clear, a repeated visibility, and the maintenance indicator.
#[rustfmt::skip]
const IGNORED: [&str; 44] = [
    "COR", "CCA", "CCB", "CCC", "CCD", "CCE", "CCF", "AMD", "RTD", "NIL", "NSW", "$", "M", "/", "///?/?/?/?/?/?/?",
    "KT", "000V000", "WS", "ALL", "TKOF", "LDG", "RWYS?", "RW?Y? ?99L?C?R?", "WM?00/S0", "WM?00/H00?0?", "RE//",
    "///CB", "///TCU", "////SM", "////NDV", "BLW ?9999?9?", "BLO ?9999?9?", "BELOW ?9999?9?", "99? KM ALL FU",
    "99? KM ALL HZ", "99? KM ALL BR", "NO SIG", "SLPNO", "RVRNO", "PWINO", "TSNO", "FZRANO", "AUTO", "R////?/?/?/?/?",
];

const RUNWAY_VISUAL_RANGES: [&str; 2] =
    ["R99L?L?C?R?R?/P?M?0000F?T?/?U?D?N?", "R99L?L?C?R?R?/P?M?9999F?T?VP?M?9999F?T?/?U?D?N?"];

#[rustfmt::skip]
const RUNWAY_STATES: [&str; 9] = [
    "R99L?L?C?R?R?/000000", "R99L?L?C?R?R?/0?0?0?0?0?0?D", "R99L?L?C?R?R?/CLRD0?0?", "R99L?L?C?R?R?//99",
    "R99L?L?C?R?R?/GLRD00", "R99L?L?C?R?R?/SNOCLO", "99000000", "99CLRD00", "R?/?SNOCLO",
];

const CONVECTION: [&str; 8] = ["CB", "CB/@", "CB @", "CB TO @", "TCU", "TCU/@", "TCU @", "TCU TO @"];

/// These start a forecast, which ends at the remarks.
const TRENDS: [&str; 8] = ["NOSIG*", "TEMPO*", "BECMG*", "INTER", "PROB90*", "FM", "FM9999Z?", "FM999999Z?"];

/// These start the remarks; a few stations omit the first one.
const REMARKS: [&str; 7] = ["RMK*", "AO1", "AO2A?", "A01", "A02A?", "PP000", "PPTRZ"];

/// Groups that are written in several words: if a group is like the first and the next word like the second, they are
/// one group, which can be the first of another pair.
#[rustfmt::skip]
const PAIRS: [(&str, &str); 41] = [
    ("P?M?99?", "99?/99?SM"), ("P?M?9", "9/99?"), ("P?M?99?", "SM"), ("P?M?99?/99?", "SM"), ("P?M?9 9/99?", "SM"),
    ("P?99?", "KM"), ("99? KM", "ALL"), ("99? KM ALL", "FU"), ("99? KM ALL", "HZ"), ("99? KM ALL", "BR"),
    ("NO", "SIG"), ("RWY", "99L?C?R?"), ("BLW", "9999?9?"), ("BLO", "9999?9?"), ("BELOW", "9999?9?"), ("QFE", "9999?"),
    ("QFE", "9999?/9"), ("QFE", "9999?.9"), ("QFE", "999/9999"), ("CB", "@"), ("CB @", "@"), ("CB", "TO"),
    ("CB TO", "@"), ("CB TO @", "@"), ("TCU", "@"), ("TCU @", "@"), ("TCU", "TO"), ("TCU TO", "@"), ("TCU TO @", "@"),
    ("99999", "KT"), ("99999G99", "KT"), ("VRB", "99KT"), ("M?99", "/M?99"), ("M?99/", "M?99"), ("A", "9999"),
    ("Q", "9999"), ("QNH", "9999"), ("FEW", "999"), ("SCT", "999"), ("BKN", "999"), ("OVC", "999"),
];

/// The groups of the body. Each function returns `Some` if the group is of its kind and its values are usable.
impl<'a> Report<'a> {
    /// Tries one kind after the other.
    fn parse(&mut self, g: &'a str) -> Option<()> {
        self.ignored(g)
            .or_else(|| self.wind(g))
            .or_else(|| self.visibility(g))
            .or_else(|| self.visibility_in_miles(g))
            .or_else(|| self.weather(g))
            .or_else(|| self.sky(g))
            .or_else(|| self.temperature(g))
            .or_else(|| self.pressure(g))
            .or_else(|| self.convection(g))
            .or_else(|| self.runway_visual_range(g))
            .or_else(|| self.runway_state(g))
            .or_else(|| self.colour_state(g))
            .or_else(|| self.station_pressure(g))
            .or_else(|| self.remark(g))
    }

    /// The kinds that are in the remarks, and in the body if a station omits "RMK".
    fn remark(&mut self, g: &str) -> Option<()> {
        self.rainfall(g).or_else(|| self.precise_temperature(g)).or_else(|| self.sea_level_pressure(g))
    }

    fn ignored(&mut self, g: &str) -> Option<()> {
        self.automatic = self.automatic || g == "AUTO";
        like_one(g, &IGNORED).then_some(())
    }

    /// "R23/0350N", "R11/1000VP6000FT/D", "R16/////".
    fn runway_visual_range(&mut self, g: &'a str) -> Option<()> {
        like_one(g, &RUNWAY_VISUAL_RANGES).then_some(())?;
        add(&mut self.runway_visual_range, GROUPS, g)
    }

    /// "R24L/290050", "R09/70D", "R28/D", "R23/CLRD60", "88CLRD70", "R/SNOCLO".
    fn runway_state(&mut self, g: &'a str) -> Option<()> {
        like_one(g, &RUNWAY_STATES).then_some(())?;
        add(&mut self.runway_state, GROUPS, g)
    }

    /// The colour states of military airfields, now and later: "BLU", "BLU+BLU+", "BLACKGRN", "WHT/GRN".
    fn colour_state(&mut self, all: &'a str) -> Option<()> {
        const COLOURS: [&str; 9] = ["BLU+", "BLU", "WHT", "GRN", "YLO1", "YLO2", "YLO", "AMB", "RED"];
        let g = &mut &*all;
        let mut any = take(g, "BLACK");
        while take_one(g, &COLOURS).is_some() {
            any = true;
            if g.len() > 1 {
                take(g, "/");
            }
        }
        (any && g.is_empty()).then_some(())?;
        add(&mut self.colour_state, GROUPS, all)
    }

    /// "CB/NE/N", "TCU S", "CB TO SW": where the clouds are that bring showers and thunderstorms.
    fn convection(&mut self, mut g: &'a str) -> Option<()> {
        like_one(g, &CONVECTION).then_some(())?;
        let kind = take_one(&mut g, &["CB", "TCU"])?;
        while take_one(&mut g, &["/", " ", "\t", "\r", "\n", "TO"]).is_some() {}
        add(&mut self.convection, LAYERS, (kind, g))
    }

    /// "RF00.2/012.4": the rain of the last 10 minutes, and since 9 o'clock.
    fn rainfall(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        take(g, "RF").then_some(())?;
        let recent = millimetres(g, 2, "//./")?;
        take(g, "/").then_some(())?;
        let day = millimetres(g, 3, "///./")?;
        g.is_empty().then(|| (self.rain_10_minutes, self.rain_since_9) = (recent, day))
    }

    /// Whether the unit of a whole wind is omitted: stations that do so mean knots, but for those in the parts of the
    /// world that use metres per second.
    fn without_unit(&self, g: &str) -> bool {
        !self.station.starts_with(['U', 'Z']) && like_one(g, &["99999", "99999G99", "VRB99", "VRB99G99"])
    }

    /// "24015G25KT", "VRB02MPS", "240P99KT", "/////KT"; "E26008KT" is estimated, "CALM" no wind.
    fn wind(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let unit = self.without_unit(g).then_some(1_000_000);
        let estimated = take(g, "E");
        let (mut direction, mut speed, mut gust, mut millionths) = (Some(0), Some(0), None, 1_000_000);
        if take(g, "CALM") {
            take(g, "KT");
        } else {
            direction = match digits_or(g, 3, 3, "///") {
                Some(direction) => direction,
                None => take(g, "VRB").then_some(None)?,
            };
            skip_space(g);
            take(g, "P");
            speed = digits_or(g, 2, 3, "//")?;
            if take(g, "G") {
                take(g, "P");
                gust = digits_or(g, 2, 3, "//")?;
            }
            millionths = unit.or_else(|| speed_unit(g))?;
        }
        if self.speed.is_some() || direction > Some(360) || !g.is_empty() {
            return None;
        }
        let knots = |speed| ((i64::from(speed) * millionths + 500_000) / 1_000_000) as i32;
        self.estimated = estimated;
        self.direction = direction;
        self.speed = speed.map(knots);
        self.gust = gust.map(knots);
        Some(())
    }

    /// Stores the prevailing visibility, which comes first, or the lower one that follows it.
    fn add_visibility(&mut self, visibility: i32, direction: Option<&'static str>) -> Option<()> {
        match self.visibility {
            None => self.visibility = Some(visibility),
            Some(prevailing) if visibility > prevailing => return direction.map(|_| ()),
            Some(prevailing) => {
                let lower = self.minimum.map_or(prevailing, |(minimum, _)| minimum);
                if visibility < lower {
                    self.minimum = Some((visibility, direction));
                }
            }
        }
        Some(())
    }

    /// "9999" (10 km or more), "3000SW", "0800NDV", "0600//"; "CAVOK".
    fn visibility(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        if *g == "CAVOK" {
            let far = from_metres(10_000);
            (*self.visibility.get_or_insert(far) >= far).then_some(())?;
            return self.add_layer(Some("CAVOK"), None, None);
        }
        if *g == "99999" {
            *g = &g[1..];
        }
        let metres = digits(g, 4, 4)?;
        let direction = match take_one(g, &["NDV", "//", "M"]) {
            None => take_one(g, &COMPASS),
            Some(_) => None,
        };
        g.is_empty().then_some(())?;
        self.add_visibility(from_metres(if metres == 9999 { 10_000 } else { metres }), direction)
    }

    /// "10SM", "P6SM", "M1/4SM", "1 1/2 SM", "8M"; "10KM".
    fn visibility_in_miles(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        take_one(g, &["P", "M"]);
        let (mut whole, mut over, mut under) = (digits(g, 1, 2)?, 0, 1);
        skip_space(g);
        if take(g, "/") {
            (over, whole, under) = (whole, 0, digits(g, 1, 2)?);
        } else if g.starts_with(|next: char| next.is_ascii_digit()) {
            over = digits(g, 1, 2)?;
            take(g, "/").then_some(())?;
            under = digits(g, 1, 2)?;
        }
        skip_space(g);
        let kilometres = under == 1 && take(g, "KM");
        if (!kilometres && take_one(g, &["SM", "MI", "M"]).is_none()) || !g.is_empty() || over >= under {
            return None;
        }
        let fraction = (over * 200 + under) / (2 * under);
        let found = if kilometres { from_metres(whole * 1000) } else { whole * 100 + fraction };
        let (known, far) = (*self.visibility.get_or_insert(found), from_metres(10_000));
        (found == known || (found >= far && known == far)).then_some(())
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
        (enough && g.is_empty()).then_some(())?;
        if recent {
            return Some(());
        }
        add(&mut self.weather, GROUPS, all)
    }

    /// "FEW008", "BKN020CB", "OVC010///", "///015", "VV002", "VV///", the codes for a sky without clouds, and several
    /// layers without spaces.
    fn sky(&mut self, mut g: &str) -> Option<()> {
        let (count, vertical_visibility) = (self.sky.len(), self.vertical_visibility);
        if g.len() > 1 && g.as_bytes()[1] != b'/' {
            take(&mut g, "/");
        }
        loop {
            if self.take_layer(&mut g).is_none() {
                self.sky.truncate(count);
                self.vertical_visibility = vertical_visibility;
                return None;
            }
            if g.is_empty() {
                return Some(());
            }
        }
    }

    /// Takes one layer, and a separator from the next one.
    fn take_layer(&mut self, g: &mut &str) -> Option<()> {
        if let Some(clear) = take_one(g, &["CLR", "SKC", "NSC", "NCD"]) {
            return self.add_layer(Some(clear), None, None);
        }
        let cover = take_one(g, &["FEW", "SCT", "BKN", "OVC", "VV", "///"])?;
        skip_space(g);
        let feet = digits_or(g, 3, 3, "///")?.map(|hundreds| hundreds * 100);
        let kind = take_one(g, &["CB", "TCU", "///"]).filter(|&kind| kind != "///");
        if g.len() > 1 {
            take(g, "/");
        }
        match cover {
            // An obscured sky: the number is the vertical visibility.
            "VV" => {
                self.vertical_visibility = feet;
                self.add_layer(Some("OVX"), Some(0), kind)
            }
            "///" => self.add_layer(None, feet, kind),
            _ => self.add_layer(Some(cover), feet, kind),
        }
    }

    fn add_layer(
        &mut self,
        cover: Option<&'static str>,
        base: Option<i32>,
        kind: Option<&'static str>,
    ) -> Option<()> {
        add(&mut self.sky, LAYERS, Layer { cover, base, kind })
    }

    /// "05/M06", "05/", "12//", "///05", "9/M1"; but not "1/2", which may be a fraction of a mile.
    fn temperature(&mut self, mut g: &str) -> Option<()> {
        if self.temperature.is_some() || like(g, "9/9") {
            return None;
        }
        let g = &mut g;
        let air = degrees(g)?;
        skip_space(g);
        take(g, "/").then_some(())?;
        skip_space(g);
        let mut dew = None;
        if !matches!(*g, "" | "/") {
            dew = degrees(g)?;
            g.is_empty().then_some(())?;
        }
        (self.temperature, self.dewpoint) = (air, dew);
        Some(())
    }

    /// "A2992" in hundredths of an inch, "Q1013" in hectopascals, "Q1012.3/29.89". If both are given, the inches are
    /// more precise.
    fn pressure(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        let mut inch = inches(g, false);
        if inch.is_some() && g.len() > 1 {
            take(g, "/");
        }
        let tenths = hectopascals(g);
        if tenths.is_some() && g.len() > 1 && take(g, "/") {
            inch = Some(inches(g, true)?);
        }
        if !g.is_empty() || (inch.is_none() && tenths.is_none()) {
            return None;
        }
        let (inch, tenths) = (inch.flatten(), tenths.flatten());
        let converted =
            tenths.map(|tenths| ((i64::from(tenths) * 29_529_983 + 50_000_000) / 100_000_000) as i32);
        self.altimeter_hpa = tenths.or(self.altimeter_hpa);
        self.altimeter = inch.or(self.altimeter).or(converted);
        Some(())
    }

    /// "QFE 987/4", "QFE 987.4" in hectopascals, "QFE 745/0993" in millimetres of mercury and hectopascals. What
    /// "QFE 745" is in, is unknown.
    fn station_pressure(&mut self, mut g: &str) -> Option<()> {
        like_one(g, &["QFE ?9999?", "QFE ?9999?/9", "QFE ?9999?.9", "QFE ?999/9999"]).then_some(())?;
        let g = &mut g;
        take(g, "QFE");
        skip_space(g);
        let whole = digits(g, 3, 4)?;
        if take_one(g, &["/", "."]).is_some() {
            self.station_pressure = match digits(g, 4, 4) {
                Some(hectopascals) => Some(hectopascals * 10),
                None => digits(g, 1, 1).map(|tenth| whole * 10 + tenth),
            };
        }
        Some(())
    }

    /// "T10111028", "T0089////": tenths for the temperatures.
    fn precise_temperature(&mut self, mut g: &str) -> Option<()> {
        let g = &mut g;
        take(g, "T").then_some(())?;
        let air = tenths_of_degrees(g)?;
        let dew = if g.is_empty() { None } else { tenths_of_degrees(g)? };
        g.is_empty().then_some(())?;
        refine(&mut self.temperature, air);
        refine(&mut self.dewpoint, dew);
        Some(())
    }

    /// "SLP134": 1013.4 hPa, because the value nearer to the altimeter is meant, or nearer to 1000 if that is unknown
    /// or no pressure at sea level. The altimeter is another estimate of the same pressure: what is far from it is a
    /// mistake.
    fn sea_level_pressure(&mut self, mut g: &str) -> Option<()> {
        like(g, "SLP999").then_some(())?;
        take(&mut g, "SLP");
        let tenths = digits(&mut g, 3, 3)?;
        let known = self.altimeter.filter(|inches| (2750..3150).contains(inches));
        let near = known.map_or(10_000, |inches| (i64::from(inches) * 338_639 / 100_000) as i32);
        let pressure = tenths + if tenths + 9_500 < near { 10_000 } else { 9_000 };
        if known.is_none() || (pressure - near).abs() <= 300 {
            self.sea_level_pressure = Some(pressure);
        }
        Some(())
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

    /// Extends the group by the next words, as long as they form a pair.
    fn join(&mut self) {
        for _ in 1..WORDS {
            let group = self.group();
            let mut next = Reader { ..*self };
            let word = next.advance();
            if !PAIRS.iter().any(|(first, second)| like(group, first) && like(word, second)) {
                return;
            }
            self.end = next.end;
        }
    }

    /// Separates a word that is written without a space before it, "Q1009RMK". Returns the group, without a mark of
    /// punctuation at its end.
    fn separate(&mut self) -> &'a str {
        for word in ["RMK", "NOSIG"] {
            let group = self.group();
            if group.len() > word.len() && group.ends_with(word) {
                self.end -= word.len();
            }
        }
        let group = self.group();
        group.strip_suffix(['.', ',', ';']).filter(|rest| !rest.is_empty()).unwrap_or(group)
    }
}

impl<'a> Report<'a> {
    /// Decodes a report.
    ///
    /// # Errors
    ///
    /// If the report has no station or no time, or if the reading is strict and a group is not understood. The message
    /// names the group and its position.
    pub fn decode(raw: &'a [u8], strict: bool) -> Result<Self, String> {
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
        let text = text.trim_end_matches('=');
        let mut reader = Reader { text, start: 0, end: 0, number: 0 };
        let read =
            report.read_header(&mut reader).and_then(|()| report.read_body(&mut reader, first, strict));
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
        let mut g = reader.advance();
        if g == "COR" {
            g = reader.advance();
        }
        let number = |at: usize| g[at..at + 2].parse().unwrap_or(0);
        if like(g, "999999Z") {
            (self.day, self.hour, self.minute) = (number(0), number(2), number(4));
        }
        if !(1..=31).contains(&self.day) || self.hour > 23 || self.minute > 59 {
            return Err("no time of observation (ddhhmmZ)");
        }
        Ok(())
    }

    /// Collects what is not understood, or fails there if the reading is strict.
    fn read_body(&mut self, reader: &mut Reader<'a>, first: usize, strict: bool) -> Result<(), &'static str> {
        let (mut in_trend, mut in_remarks) = (false, false);
        loop {
            let word = reader.advance();
            if word.is_empty() {
                return Ok(());
            }
            if in_remarks {
                self.remark(word);
                continue;
            }
            in_remarks = like_one(word, &REMARKS);
            in_trend = in_trend || like_one(word, &TRENDS);
            if in_remarks || in_trend {
                continue;
            }
            reader.join();
            let group = reader.separate();
            if self.parse(group).is_some() {
                continue;
            }
            if strict {
                return Err("not understood");
            }
            self.unparsed.push((group, reader.start - first + 1));
        }
    }

    /// The ceiling that a layer forms, `None` if it forms none; an error if that is unknown.
    fn ceiling(&self, layer: &Layer) -> Result<Option<i32>, ()> {
        match layer.cover.ok_or(())? {
            "BKN" | "OVC" => layer.base.ok_or(()).map(Some),
            "OVX" => self.vertical_visibility.ok_or(()).map(Some),
            _ => Ok(None),
        }
    }

    /// The categories of the US National Weather Service; `None` if what is unknown of visibility and ceiling could
    /// change it.
    fn flight_category(&self) -> Option<&'static str> {
        let ceilings: Vec<_> = self.sky.iter().map(|layer| self.ceiling(layer)).collect();
        let ceiling = ceilings.iter().flatten().flatten().copied().min().unwrap_or(i32::MAX);
        let known = !ceilings.is_empty() && ceilings.iter().all(Result::is_ok);
        match (ceiling, self.visibility) {
            (..=499, _) | (_, Some(..=99)) => Some("LIFR"),
            (_, None) => None,
            _ if !known => None,
            (..=999, _) | (_, Some(..=299)) => Some("IFR"),
            (..=3000, _) | (_, Some(..=500)) => Some("MVFR"),
            _ => Some("VFR"),
        }
    }

    fn wind_json(&self) -> String {
        if self.direction.is_none() && self.speed.is_none() {
            return "null".to_owned();
        }
        let [direction, speed, gust] = [self.direction, self.speed, self.gust].map(|value| number(value, 1));
        let estimated = self.estimated;
        format!(
            r#"{{"direction_deg":{direction},"speed_kt":{speed},"gust_kt":{gust},"estimated":{estimated}}}"#
        )
    }

    fn minimum_json(&self) -> String {
        let Some((minimum, direction)) = self.minimum else {
            return "null".to_owned();
        };
        let (distance, direction) = (number(Some(minimum), 100), json!(direction));
        format!(r#"{{"distance_mi":{distance},"direction":{direction}}}"#)
    }

    fn sky_json(&self) -> String {
        let layers = self.sky.iter().map(|Layer { cover, base, kind }| {
            let (cover, base, kind) = (json!(cover), number(*base, 1), json!(kind));
            format!(r#"{{"cover":{cover},"base_ft":{base},"type":{kind}}}"#)
        });
        list_or_null(layers.collect())
    }

    fn convection_json(&self) -> String {
        let clouds = self.convection.iter().map(|(kind, mut rest)| {
            let mut directions = Vec::new();
            while !rest.is_empty() {
                match take_one(&mut rest, &COMPASS) {
                    Some(direction) => directions.push(direction),
                    None => rest = &rest[1..], // a separator
                }
            }
            format!(r#"{{"type":"{kind}","directions":{}}}"#, json!(directions))
        });
        list_or_null(clouds.collect())
    }

    fn rainfall_json(&self) -> String {
        if self.rain_10_minutes.is_none() && self.rain_since_9.is_none() {
            return "null".to_owned();
        }
        let (recent, day) = (number(self.rain_10_minutes, 10), number(self.rain_since_9, 10));
        format!(r#"{{"last_10_minutes_mm":{recent},"since_9_mm":{day}}}"#)
    }

    fn unparsed_json(&self) -> String {
        let groups = self.unparsed.iter().map(|(group, column)| {
            let group = json!(group);
            format!(r#"{{"group":{group},"column":{column}}}"#)
        });
        format!("[{}]", groups.collect::<Vec<_>>().join(","))
    }

    /// The response, written by hand to fix the order of its members.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let mut member = |name: &str, value: &dyn fmt::Display| {
            let comma = if out.is_empty() { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}\"{name}\":{value}");
        };
        let groups = |list: &[&str]| json!((!list.is_empty()).then(|| list.join(" ")));
        let (day, hour, minute) = (self.day, self.hour, self.minute);
        member("station", &json!(self.station));
        member("observed", &format_args!(r#"{{"day":{day},"hour":{hour},"minute":{minute}}}"#));
        member("type", &json!(self.kind));
        member("auto", &self.automatic);
        member("wind", &self.wind_json());
        member("visibility_mi", &number(self.visibility, 100));
        member("minimum_visibility", &self.minimum_json());
        member("runway_visual_range", &groups(&self.runway_visual_range));
        member("weather", &groups(&self.weather));
        member("sky", &self.sky_json());
        member("vertical_visibility_ft", &number(self.vertical_visibility, 1));
        member("convection", &self.convection_json());
        member("temperature_c", &number(self.temperature, 10));
        member("dewpoint_c", &number(self.dewpoint, 10));
        member("altimeter_inhg", &number(self.altimeter, 100));
        member("altimeter_hpa", &number(self.altimeter_hpa, 10));
        member("sea_level_pressure_hpa", &number(self.sea_level_pressure, 10));
        member("station_pressure_hpa", &number(self.station_pressure, 10));
        member("rainfall", &self.rainfall_json());
        member("runway_state", &groups(&self.runway_state));
        member("colour_state", &groups(&self.colour_state));
        member("flight_category", &json!(self.flight_category()));
        member("unparsed", &self.unparsed_json());
        member("raw", &json!(self.raw));
        out + "}"
    }
}

fn list_or_null(items: Vec<String>) -> String {
    match items.is_empty() {
        true => "null".to_owned(),
        false => format!("[{}]", items.join(",")),
    }
}

fn number(value: Option<i32>, scale: i32) -> Decimal {
    Decimal { value, scale }
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
