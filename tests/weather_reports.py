"""Reports from many countries, and what they say: worked out by hand from WMO No. 306 (FM 15) and FMH-1.

1 hPa is 0.029529983 inHg, 1 m/s is 1.943844 kt, 1 statute mile is 1609.344 m.
"""

from __future__ import annotations

from typing import Any

#: What a report says that says nothing.
NOTHING: dict[str, Any] = {
    "type": None,
    "auto": False,
    "wind": None,
    "visibility_mi": None,
    "weather": None,
    "sky": None,
    "vertical_visibility_ft": None,
    "temperature_c": None,
    "dewpoint_c": None,
    "altimeter_inhg": None,
    "sea_level_pressure_hpa": None,
    "flight_category": None,
}


def _layer(cover: str, base: str) -> dict[str, str | int | None]:
    return {"cover": None if cover == "-" else cover, "base_ft": None if base == "-" else int(base)}


def _says(
    *,
    wind: tuple[int | None, int | None, int | None] | None = None,
    mi: float | None = None,
    weather: str | None = None,
    sky: str | None = None,
    vertical: int | None = None,
    air: float | None = None,
    dew: float | None = None,
    inhg: float | None = None,
    hpa: float | None = None,
    category: str | None = None,
    **others: object,
) -> dict[str, Any]:
    """Returns the members of the answer; ``sky`` is written as ``"FEW 800, OVC -"``, with ``-`` for null."""
    layers = (layer.split() for layer in sky.split(", ")) if sky else None
    return NOTHING | {
        "wind": wind and dict(zip(("direction_deg", "speed_kt", "gust_kt"), wind, strict=True)),
        "visibility_mi": mi,
        "weather": weather,
        "sky": layers and [_layer(*layer) for layer in layers],
        "vertical_visibility_ft": vertical,
        "temperature_c": air,
        "dewpoint_c": dew,
        "altimeter_inhg": inhg,
        "sea_level_pressure_hpa": hpa,
        "flight_category": category,
        **others,
    }


#: report -> what its answer holds beside station, time and raw.
REPORTS: dict[str, dict[str, Any]] = {
    # Europe
    "METAR EGLL 092320Z AUTO 13005KT 9999 OVC012 07/06 Q1014 NOSIG=": _says(
        type="METAR", auto=True, wind=(130, 5, None), mi=6.21, sky="OVC 1200", air=7, dew=6, inhg=29.94, category="MVFR"
    ),
    "SPECI LFPG 092335Z 24015G27KT 210V270 5000 3000SW -SHRA BKN008 OVC015CB 09/08 Q1002 TEMPO 1500 +SHRA": _says(
        type="SPECI",
        wind=(240, 15, 27),
        mi=3.11,
        weather="-SHRA",
        sky="BKN 800, OVC 1500",
        air=9,
        dew=8,
        inhg=29.59,
        category="IFR",
    ),
    "METAR COR LFBD 092330Z AUTO 00000KT 0300 R23/0350N FG VV/// 04/04 Q1020 NOSIG": _says(
        type="METAR", auto=True, wind=(0, 0, None), mi=0.19, weather="FG", sky="OVX 0", air=4, dew=4, inhg=30.12
    ),
    "EDDF 092320Z AUTO 21006KT 9999 // SCT020/// BKN///CB ///// Q////": _says(
        auto=True, wind=(210, 6, None), mi=6.21, sky="SCT 2000, BKN -"
    ),
    "EHAM 092325Z 19012KT 9999 FEW006 SCT009 BKN011 08/07 Q1008 REDZ BECMG BKN014": _says(
        wind=(190, 12, None), mi=6.21, sky="FEW 600, SCT 900, BKN 1100", air=8, dew=7, inhg=29.77, category="MVFR"
    ),
    "LSZH 092320Z VRB01KT 0150 R14/P2000N R16/0600VP2000U R28/M0050D FZFG VV001 M02/M02 Q1026 NOSIG": _says(
        wind=(None, 1, None),
        mi=0.09,
        weather="FZFG",
        sky="OVX 0",
        vertical=100,
        air=-2,
        dew=-2,
        inhg=30.3,
        category="LIFR",
    ),
    "ENGM 092320Z 02004KT 9999 -SN FEW015 BKN030 M05/M07 Q1009 R01L/590193 TEMPO 3000 SN BKN014": _says(
        wind=(20, 4, None), mi=6.21, weather="-SN", sky="FEW 1500, BKN 3000", air=-5, dew=-7, inhg=29.8, category="MVFR"
    ),
    "ENXX 092320Z AUTO 22032G45KT //// // ////// 06/03 Q0985 W07/S6 W///H35": _says(
        auto=True, wind=(220, 32, 45), air=6, dew=3, inhg=29.09
    ),
    "BIRK 092300Z 13017KT 9999 VCSH FEW018TCU SCT040 03/M00 Q0978 RERASN": _says(
        wind=(130, 17, None),
        mi=6.21,
        weather="VCSH",
        sky="FEW 1800, SCT 4000",
        air=3,
        dew=0,
        inhg=28.88,
        category="VFR",
    ),
    "EFHK 092350Z NIL=": _says(),
    "EGXC 092350Z 26012KT 9000 HZ FEW025 05/01 Q1009 BLU NOSIG": _says(
        wind=(260, 12, None), mi=5.59, weather="HZ", sky="FEW 2500", air=5, dew=1, inhg=29.8, category="VFR"
    ),
    "EGVN 092350Z 24010KT 7000 BKN009 08/07 Q1011 BLACKGRN TEMPO 4000 YLO1": _says(
        wind=(240, 10, None), mi=4.35, sky="BKN 900", air=8, dew=7, inhg=29.85, category="IFR"
    ),
    "LEMD 092330Z 33003KT CAVOK 02/M01 Q1024 NOSIG": _says(
        wind=(330, 3, None), mi=6.21, sky="CAVOK -", air=2, dew=-1, inhg=30.24, category="VFR"
    ),
    "LTBA 092320Z 02008KT 340V050 6000 BR NSC 10/06 Q1015 WS R35L NOSIG RMK RWY05 02010KT": _says(
        wind=(20, 8, None), mi=3.73, weather="BR", sky="NSC -", air=10, dew=6, inhg=29.97, category="MVFR"
    ),
    "LIRF 092320Z /////KT 8000 SCT/// ///020 12/// Q1005 WS ALL RWY": _says(
        mi=4.97, sky="SCT -, - 2000", air=12, inhg=29.68
    ),
    # Russia and Asia: metres per second, states of runways
    "UUEE 092300Z 17003MPS 9999 OVC009 M01/M02 Q1024 R24L/290050 NOSIG RMK QFE745": _says(
        wind=(170, 6, None), mi=6.21, sky="OVC 900", air=-1, dew=-2, inhg=30.24, category="IFR"
    ),
    "UNNT 092300Z 20007G12MPS 160V230 2500 -SN BLSN BKN011CB OVC030 M18/M21 Q1035 88CLRD70 TEMPO 1000 SHSN": _says(
        wind=(200, 14, 23),
        mi=1.55,
        weather="-SN BLSN",
        sky="BKN 1100, OVC 3000",
        air=-18,
        dew=-21,
        inhg=30.56,
        category="IFR",
    ),
    "UKBB 092330Z 00000MPS 0400 R18L/0700D FZFG SKC M09/M10 Q1030 08450345 NOSIG": _says(
        wind=(0, 0, None), mi=0.25, weather="FZFG", sky="SKC -", air=-9, dew=-10, inhg=30.42, category="LIFR"
    ),
    "UHMM 092300Z 36015MPS 0050 +SN +BLSN VV000 M25/M27 Q0998 R/SNOCLO": _says(
        wind=(360, 29, None),
        mi=0.03,
        weather="+SN +BLSN",
        sky="OVX 0",
        vertical=0,
        air=-25,
        dew=-27,
        inhg=29.47,
        category="LIFR",
    ),
    "ZBAA 092330Z 36004MPS CAVOK M04/M18 Q1029 NOSIG": _says(
        wind=(360, 8, None), mi=6.21, sky="CAVOK -", air=-4, dew=-18, inhg=30.39, category="VFR"
    ),
    "ZSPD 092330Z 30002MPS 1200 R17L/1400U BR FEW002 04/03 Q1023 BECMG TL0100 0800 FG": _says(
        wind=(300, 4, None), mi=0.75, weather="BR", sky="FEW 200", air=4, dew=3, inhg=30.21, category="LIFR"
    ),
    "RJTT 092330Z 34010KT 9999 FEW030 08/M01 Q1013 NOSIG RMK 1CU030 A2993": _says(
        wind=(340, 10, None), mi=6.21, sky="FEW 3000", air=8, dew=-1, inhg=29.91, category="VFR"
    ),
    "RKSI 092330Z 31014KT 280V340 9999 FEW030 M06/M13 Q1022 NOSIG": _says(
        wind=(310, 14, None), mi=6.21, sky="FEW 3000", air=-6, dew=-13, inhg=30.18, category="VFR"
    ),
    "VIDP 092330Z 00000KT 0050 R28/0125 R29L/0200 FG VV001 08/08 Q1017 NOSIG": _says(
        wind=(0, 0, None), mi=0.03, weather="FG", sky="OVX 0", vertical=100, air=8, dew=8, inhg=30.03, category="LIFR"
    ),
    "WIII 092330Z 22004KT 2000 +TSRA FEW017CB BKN016 25/24 Q1010 NOSIG": _says(
        wind=(220, 4, None),
        mi=1.24,
        weather="+TSRA",
        sky="FEW 1700, BKN 1600",
        air=25,
        dew=24,
        inhg=29.83,
        category="IFR",
    ),
    "OMDB 092300Z 12005KT 4000 DU NSC 17/10 Q1018 A3006 BECMG 3000": _says(
        wind=(120, 5, None), mi=2.49, weather="DU", sky="NSC -", air=17, dew=10, inhg=30.06, category="IFR"
    ),
    "OIIE 092300Z 28004KT CAVOK 04/M06 A3001 Q1016": _says(
        wind=(280, 4, None), mi=6.21, sky="CAVOK -", air=4, dew=-6, inhg=30.01, category="VFR"
    ),
    # Africa and the southern hemisphere
    "FAOR 092300Z 03008KT 9999 TS FEW040CB SCT100 19/15 Q1026 TEMPO VRB20G35KT TSRA": _says(
        wind=(30, 8, None), mi=6.21, weather="TS", sky="FEW 4000, SCT 10000", air=19, dew=15, inhg=30.3, category="VFR"
    ),
    "SBGR 092300Z 10005KT 9999 BKN020 21/18 Q1014": _says(
        wind=(100, 5, None), mi=6.21, sky="BKN 2000", air=21, dew=18, inhg=29.94, category="MVFR"
    ),
    "SCEL 092300Z 21010KT 10KM SKC 27/09 Q1012 NOSIG": _says(
        wind=(210, 10, None), mi=6.21, sky="SKC -", air=27, dew=9, inhg=29.88, category="VFR"
    ),
    "YSSY 092330Z AUTO VRB02KT 9999NDV // NCD 25/18 Q1015 RMK RF00.0/000.0": _says(
        auto=True, wind=(None, 2, None), mi=6.21, sky="NCD -", air=25, dew=18, inhg=29.97, category="VFR"
    ),
    "NZSP 092350Z 04011KT 9999 IC SKC M28/ A2876": _says(
        wind=(40, 11, None), mi=6.21, weather="IC", sky="SKC -", air=-28, inhg=28.76, category="VFR"
    ),
    # North and Central America
    "CYVR 092300Z CCA 09005KT 15SM FEW030 SCT080 06/04 A2990 RMK CU2AC3 SLP128": _says(
        wind=(90, 5, None), mi=15, sky="FEW 3000, SCT 8000", air=6, dew=4, inhg=29.9, hpa=1012.8, category="VFR"
    ),
    "CYYT 092330Z 07045G62KT 1/8SM R11/1000VP6000FT/D +SN BLSN VV001 M03/M04 A2871 RMK SN8 SLP731": _says(
        wind=(70, 45, 62),
        mi=0.13,
        weather="+SN BLSN",
        sky="OVX 0",
        vertical=100,
        air=-3,
        dew=-4,
        inhg=28.71,
        hpa=973.1,
        category="LIFR",
    ),
    "MMMX 092245Z 36008KT P6SM SCT020 BKN080 17/05 A3027 NOSIG RMK 8/140 HZY": _says(
        wind=(360, 8, None), mi=6, sky="SCT 2000, BKN 8000", air=17, dew=5, inhg=30.27, category="VFR"
    ),
    "MHTG 092300Z 02010KT 9999 FEW022 SCT080 22/18 A3007": _says(
        wind=(20, 10, None), mi=6.21, sky="FEW 2200, SCT 8000", air=22, dew=18, inhg=30.07, category="VFR"
    ),
    "METAR KSEA 092353Z COR 17006KT 1 1/2SM R16L/P6000FT -DZ BR BKN005 OVC010 07/06 A2996 RMK SLP151 T00720061": _says(
        type="METAR",
        wind=(170, 6, None),
        mi=1.5,
        weather="-DZ BR",
        sky="BKN 500, OVC 1000",
        air=7.2,
        dew=6.1,
        inhg=29.96,
        hpa=1015.1,
        category="IFR",
    ),
    "KMWN 092351Z 290P99G125KT M1/4SM FZFG VV000 M22/M22 RMK SLPNO T12221222 $": _says(
        wind=(290, 99, 125), mi=0.25, weather="FZFG", sky="OVX 0", vertical=0, air=-22.2, dew=-22.2, category="LIFR"
    ),
    "PABR 092353Z 06012KT 10SM CLR M09/M12 A2992 RMK AO2 SLP134 T10891117": _says(
        wind=(60, 12, None), mi=10, sky="CLR -", air=-8.9, dew=-11.7, inhg=29.92, hpa=1013.4, category="VFR"
    ),
    "KDEN 092353Z\r\n  ///05KT 3SM +FC TSGRRA SQ\tFEW020 00/M00 A3000 RMK T10000004": _says(
        wind=(None, 5, None), mi=3, weather="+FC TSGRRA SQ", sky="FEW 2000", air=0, dew=0.4, inhg=30, category="MVFR"
    ),
}

#: report -> why it is refused.
REFUSED = {
    "": "the report ends before group 1: there is no station (four letters or digits, the first a letter)",
    " \t\r\n": "the report ends before group 1: there is no station (four letters or digits, the first a letter)",
    "METAR": "the report ends before group 2: there is no station (four letters or digits, the first a letter)",
    "KJFK": "the report ends before group 2: there is no time of observation (ddhhmmZ)",
    "METAR COR KJFK=": "the report ends before group 4: there is no time of observation (ddhhmmZ)",
    "TAF KJFK 092330Z": "group 1 'TAF' at column 1 is no station (four letters or digits, the first a letter)",
    "kjfk 092351Z": "group 1 'kjfk' at column 1 is no station (four letters or digits, the first a letter)",
    "1JFK 092351Z": "group 1 '1JFK' at column 1 is no station (four letters or digits, the first a letter)",
    "KJFK 002351Z": "group 2 '002351Z' at column 6 is no time of observation (ddhhmmZ)",
    "KJFK 092460Z": "group 2 '092460Z' at column 6 is no time of observation (ddhhmmZ)",
    "KJFK 092351 36005KT": "group 2 '092351' at column 6 is no time of observation (ddhhmmZ)",
    "KJFK 092351Z XYZZY": "group 3 'XYZZY' at column 14 is not understood",
    "  KJFK   092351Z \n XYZZY 10SM": "group 3 'XYZZY' at column 20 is not understood",
    "KJFK 092351Z 37005KT": "group 3 '37005KT' at column 14 is not understood",
    "KJFK 092351Z 36005MPH": "group 3 '36005MPH' at column 14 is not understood",
    "SPECI KGRB 092349Z 26003P99KT 2SM": "group 4 '26003P99KT' at column 20 is not understood",
    "KJFK 092351Z 36005KT 36006KT": "group 4 '36006KT' at column 22 is not understood",
    "KJFK 092351Z 1 36005KT": "group 3 '1' at column 14 is not understood",
    "KJFK 092351Z 1 3/2SM": "group 3 '1 3/2SM' at column 14 is not understood",
    "KJFK 092351Z 1/0SM": "group 3 '1/0SM' at column 14 is not understood",
    "KJFK 092351Z 10SM 9SM": "group 4 '9SM' at column 19 is not understood",
    "KJFK 092351Z 10SM 1 1/2SM XYZZY": "group 4 '1 1/2SM' at column 19 is not understood",
    "KJFK 092351Z 1 1/2SM XYZZY": "group 4 'XYZZY' at column 22 is not understood",
    "KJFK 092351Z -SH- RA": "group 3 '-SH-' at column 14 is not understood",
    "KJFK 092351Z FZ": "group 3 'FZ' at column 14 is not understood",
    "KJFK 092351Z OVC": "group 3 'OVC' at column 14 is not understood",
    "KJFK 092351Z 05/M06 05/M06": "group 4 '05/M06' at column 21 is not understood",
    "KJFK 092351Z A299": "group 3 'A299' at column 14 is not understood",
    "EGLL 092320Z Q1014= EGKK": "group 3 'Q1014=' at column 14 is not understood",
    "KJFK 092351Z R04/12": "group 3 'R04/12' at column 14 is not understood",
    "KJFK 092351Z ABCDEFGHIJKLMNOPQRSTUVWXYZ": "group 3 'ABCDEFGHIJKLMNOPQRSTUVWX...' at column 14 is not understood",
    "KJFK 092351Z" + " FEW010" * 17: "group 19 'FEW010' at column 126 is not understood",
    "KJFK 092351Z" + " RA" * 17: "group 19 'RA' at column 62 is not understood",
    "KJFK 092351Z 10SM caf\u00e9": "byte 0xc3 at column 22 is not printable ASCII, as a report is",
    "KJFK 092351Z 10SM RMK \0": "byte 0x00 at column 23 is not printable ASCII, as a report is",
    "K" * 2049: "the report has 2049 bytes; at most 2048 are taken",
}
