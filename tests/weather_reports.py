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
    "minimum_visibility": None,
    "runway_visual_range": None,
    "weather": None,
    "sky": None,
    "vertical_visibility_ft": None,
    "convection": None,
    "temperature_c": None,
    "dewpoint_c": None,
    "altimeter_inhg": None,
    "altimeter_hpa": None,
    "sea_level_pressure_hpa": None,
    "station_pressure_hpa": None,
    "rainfall": None,
    "runway_state": None,
    "colour_state": None,
    "flight_category": None,
    "unparsed": [],
}


def _layer(cover: str, base: str, kind: str | None = None) -> dict[str, str | int | None]:
    base_ft = None if base == "-" else int(base)
    return {"cover": None if cover == "-" else cover, "base_ft": base_ft, "type": kind}


def _cloud(kind: str, *directions: str) -> dict[str, str | list[str]]:
    return {"type": kind, "directions": list(directions)}


def _object(names: tuple[str, ...], values: tuple[object, ...] | None) -> dict[str, object] | None:
    return None if values is None else dict(zip(names, values, strict=True))


def _says(
    *,
    wind: tuple[int | None, int | None, int | None] | None = None,
    estimated: bool = False,
    mi: float | None = None,
    minimum: tuple[float, str | None] | None = None,
    rvr: str | None = None,
    weather: str | None = None,
    sky: str | None = None,
    vertical: int | None = None,
    clouds: str | None = None,
    air: float | None = None,
    dew: float | None = None,
    inhg: float | None = None,
    q: float | None = None,
    hpa: float | None = None,
    qfe: float | None = None,
    rain: tuple[float | None, float | None] | None = None,
    state: str | None = None,
    colour: str | None = None,
    category: str | None = None,
    **others: object,
) -> dict[str, Any]:
    """Returns the members of the answer; ``sky`` is written as ``"FEW 800 CB, OVC -"``, with ``-`` for null."""
    winds = ("direction_deg", "speed_kt", "gust_kt", "estimated")
    return NOTHING | {
        "wind": _object(winds, wind and (*wind, estimated)),
        "visibility_mi": mi,
        "minimum_visibility": _object(("distance_mi", "direction"), minimum),
        "runway_visual_range": rvr,
        "weather": weather,
        "sky": sky and [_layer(*layer.split()) for layer in sky.split(", ")],
        "vertical_visibility_ft": vertical,
        "convection": clouds and [_cloud(*cloud.split()) for cloud in clouds.split(", ")],
        "temperature_c": air,
        "dewpoint_c": dew,
        "altimeter_inhg": inhg,
        "altimeter_hpa": q,
        "sea_level_pressure_hpa": hpa,
        "station_pressure_hpa": qfe,
        "rainfall": _object(("last_10_minutes_mm", "since_9_mm"), rain),
        "runway_state": state,
        "colour_state": colour,
        "flight_category": category,
        **others,
    }


#: report -> what its answer holds beside station, time and raw.
REPORTS: dict[str, dict[str, Any]] = {
    # Europe
    "METAR EGLL 092320Z AUTO 13005KT 9999 OVC012 07/06 Q1014 NOSIG=": _says(
        type="METAR",
        auto=True,
        wind=(130, 5, None),
        mi=6.21,
        sky="OVC 1200",
        air=7,
        dew=6,
        inhg=29.94,
        category="MVFR",
        q=1014,
    ),
    "SPECI LFPG 092335Z 24015G27KT 210V270 5000 3000SW -SHRA BKN008 OVC015CB 09/08 Q1002 TEMPO 1500 +SHRA": _says(
        type="SPECI",
        wind=(240, 15, 27),
        mi=3.11,
        weather="-SHRA",
        sky="BKN 800, OVC 1500 CB",
        air=9,
        dew=8,
        inhg=29.59,
        category="IFR",
        minimum=(1.86, "SW"),
        q=1002,
    ),
    "METAR COR LFBD 092330Z AUTO 00000KT 0300 R23/0350N FG VV/// 04/04 Q1020 NOSIG": _says(
        type="METAR",
        auto=True,
        wind=(0, 0, None),
        mi=0.19,
        weather="FG",
        sky="OVX 0",
        air=4,
        dew=4,
        inhg=30.12,
        rvr="R23/0350N",
        q=1020,
        category="LIFR",
    ),
    "EDDF 092320Z AUTO 21006KT 9999 // SCT020/// BKN///CB ///// Q////": _says(
        auto=True, wind=(210, 6, None), mi=6.21, sky="SCT 2000, BKN - CB"
    ),
    "EHAM 092325Z 19012KT 9999 FEW006 SCT009 BKN011 08/07 Q1008 REDZ BECMG BKN014": _says(
        wind=(190, 12, None),
        mi=6.21,
        sky="FEW 600, SCT 900, BKN 1100",
        air=8,
        dew=7,
        inhg=29.77,
        category="MVFR",
        q=1008,
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
        rvr="R14/P2000N R16/0600VP2000U R28/M0050D",
        q=1026,
    ),
    "ENGM 092320Z 02004KT 9999 -SN FEW015 BKN030 M05/M07 Q1009 R01L/590193 TEMPO 3000 SN BKN014": _says(
        wind=(20, 4, None),
        mi=6.21,
        weather="-SN",
        sky="FEW 1500, BKN 3000",
        air=-5,
        dew=-7,
        inhg=29.8,
        category="MVFR",
        q=1009,
        state="R01L/590193",
    ),
    "ENXX 092320Z AUTO 22032G45KT //// // ////// 06/03 Q0985 W07/S6 W///H35": _says(
        auto=True, wind=(220, 32, 45), air=6, dew=3, inhg=29.09, q=985
    ),
    "BIRK 092300Z 13017KT 9999 VCSH FEW018TCU SCT040 03/M00 Q0978 RERASN": _says(
        wind=(130, 17, None),
        mi=6.21,
        weather="VCSH",
        sky="FEW 1800 TCU, SCT 4000",
        air=3,
        dew=0,
        inhg=28.88,
        category="VFR",
        q=978,
    ),
    "EFHK 092350Z NIL=": _says(),
    "EGXC 092350Z 26012KT 9000 HZ FEW025 05/01 Q1009 BLU NOSIG": _says(
        wind=(260, 12, None),
        mi=5.59,
        weather="HZ",
        sky="FEW 2500",
        air=5,
        dew=1,
        inhg=29.8,
        category="VFR",
        q=1009,
        colour="BLU",
    ),
    "EGVN 092350Z 24010KT 7000 BKN009 08/07 Q1011 BLACKGRN TEMPO 4000 YLO1": _says(
        wind=(240, 10, None),
        mi=4.35,
        sky="BKN 900",
        air=8,
        dew=7,
        inhg=29.85,
        category="IFR",
        q=1011,
        colour="BLACKGRN",
    ),
    "LEMD 092330Z 33003KT CAVOK 02/M01 Q1024 NOSIG": _says(
        wind=(330, 3, None), mi=6.21, sky="CAVOK -", air=2, dew=-1, inhg=30.24, category="VFR", q=1024
    ),
    "LTBA 092320Z 02008KT 340V050 6000 BR NSC 10/06 Q1015 WS R35L NOSIG RMK RWY05 02010KT": _says(
        wind=(20, 8, None), mi=3.73, weather="BR", sky="NSC -", air=10, dew=6, inhg=29.97, category="MVFR", q=1015
    ),
    "LIRF 092320Z /////KT 8000 SCT/// ///020 12/// Q1005 WS ALL RWY": _says(
        mi=4.97, sky="SCT -, - 2000", air=12, inhg=29.68, q=1005
    ),
    # Russia and Asia: metres per second, states of runways
    "UUEE 092300Z 17003MPS 9999 OVC009 M01/M02 Q1024 R24L/290050 NOSIG RMK QFE745": _says(
        wind=(170, 6, None),
        mi=6.21,
        sky="OVC 900",
        air=-1,
        dew=-2,
        inhg=30.24,
        category="IFR",
        q=1024,
        state="R24L/290050",
    ),
    "UNNT 092300Z 20007G12MPS 160V230 2500 -SN BLSN BKN011CB OVC030 M18/M21 Q1035 88CLRD70 TEMPO 1000 SHSN": _says(
        wind=(200, 14, 23),
        mi=1.55,
        weather="-SN BLSN",
        sky="BKN 1100 CB, OVC 3000",
        air=-18,
        dew=-21,
        inhg=30.56,
        category="IFR",
        q=1035,
        state="88CLRD70",
    ),
    "UKBB 092330Z 00000MPS 0400 R18L/0700D FZFG SKC M09/M10 Q1030 08450345 NOSIG": _says(
        wind=(0, 0, None),
        mi=0.25,
        weather="FZFG",
        sky="SKC -",
        air=-9,
        dew=-10,
        inhg=30.42,
        category="LIFR",
        rvr="R18L/0700D",
        q=1030,
        state="08450345",
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
        q=998,
        state="R/SNOCLO",
    ),
    "ZBAA 092330Z 36004MPS CAVOK M04/M18 Q1029 NOSIG": _says(
        wind=(360, 8, None), mi=6.21, sky="CAVOK -", air=-4, dew=-18, inhg=30.39, category="VFR", q=1029
    ),
    "ZSPD 092330Z 30002MPS 1200 R17L/1400U BR FEW002 04/03 Q1023 BECMG TL0100 0800 FG": _says(
        wind=(300, 4, None),
        mi=0.75,
        weather="BR",
        sky="FEW 200",
        air=4,
        dew=3,
        inhg=30.21,
        category="LIFR",
        rvr="R17L/1400U",
        q=1023,
    ),
    "RJTT 092330Z 34010KT 9999 FEW030 08/M01 Q1013 NOSIG RMK 1CU030 A2993": _says(
        wind=(340, 10, None), mi=6.21, sky="FEW 3000", air=8, dew=-1, inhg=29.91, category="VFR", q=1013
    ),
    "RKSI 092330Z 31014KT 280V340 9999 FEW030 M06/M13 Q1022 NOSIG": _says(
        wind=(310, 14, None), mi=6.21, sky="FEW 3000", air=-6, dew=-13, inhg=30.18, category="VFR", q=1022
    ),
    "VIDP 092330Z 00000KT 0050 R28/0125 R29L/0200 FG VV001 08/08 Q1017 NOSIG": _says(
        wind=(0, 0, None),
        mi=0.03,
        weather="FG",
        sky="OVX 0",
        vertical=100,
        air=8,
        dew=8,
        inhg=30.03,
        category="LIFR",
        rvr="R28/0125 R29L/0200",
        q=1017,
    ),
    "WIII 092330Z 22004KT 2000 +TSRA FEW017CB BKN016 25/24 Q1010 NOSIG": _says(
        wind=(220, 4, None),
        mi=1.24,
        weather="+TSRA",
        sky="FEW 1700 CB, BKN 1600",
        air=25,
        dew=24,
        inhg=29.83,
        category="IFR",
        q=1010,
    ),
    "OMDB 092300Z 12005KT 4000 DU NSC 17/10 Q1018 A3006 BECMG 3000": _says(
        wind=(120, 5, None), mi=2.49, weather="DU", sky="NSC -", air=17, dew=10, inhg=30.06, category="IFR", q=1018
    ),
    "OIIE 092300Z 28004KT CAVOK 04/M06 A3001 Q1016": _says(
        wind=(280, 4, None), mi=6.21, sky="CAVOK -", air=4, dew=-6, inhg=30.01, category="VFR", q=1016
    ),
    # Africa and the southern hemisphere
    "FAOR 092300Z 03008KT 9999 TS FEW040CB SCT100 19/15 Q1026 TEMPO VRB20G35KT TSRA": _says(
        wind=(30, 8, None),
        mi=6.21,
        weather="TS",
        sky="FEW 4000 CB, SCT 10000",
        air=19,
        dew=15,
        inhg=30.3,
        category="VFR",
        q=1026,
    ),
    "SBGR 092300Z 10005KT 9999 BKN020 21/18 Q1014": _says(
        wind=(100, 5, None), mi=6.21, sky="BKN 2000", air=21, dew=18, inhg=29.94, category="MVFR", q=1014
    ),
    "SCEL 092300Z 21010KT 10KM SKC 27/09 Q1012 NOSIG": _says(
        wind=(210, 10, None), mi=6.21, sky="SKC -", air=27, dew=9, inhg=29.88, category="VFR", q=1012
    ),
    "YSSY 092330Z AUTO VRB02KT 9999NDV // NCD 25/18 Q1015 RMK RF00.0/000.0": _says(
        auto=True,
        wind=(None, 2, None),
        mi=6.21,
        sky="NCD -",
        air=25,
        dew=18,
        inhg=29.97,
        category="VFR",
        q=1015,
        rain=(0, 0),
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
        rvr="R11/1000VP6000FT/D",
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
        rvr="R16L/P6000FT",
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
    # Central America: the directions of showers and thunderstorms, the pressure at the station
    "MDPC 272300Z 11008KT 9999 FEW018CB SCT020TCU BKN200 28/24 Q1013 CB/NE/N TCU/S": _says(
        wind=(110, 8, None),
        mi=6.21,
        sky="FEW 1800 CB, SCT 2000 TCU, BKN 20000",
        clouds="CB NE N, TCU S",
        air=28,
        dew=24,
        inhg=29.91,
        q=1013,
        category="VFR",
    ),
    "MHTG 272300Z 36004KT 8000 SCT024TCU 24/19 Q1014 CB S TCU N/NE-E CB TO SW, WNW TCU ALL": _says(
        wind=(360, 4, None),
        mi=4.97,
        sky="SCT 2400 TCU",
        clouds="CB S, TCU N NE E, CB SW WNW, TCU ALL",
        air=24,
        dew=19,
        inhg=29.94,
        q=1014,
        category="MVFR",
    ),
    "MHPL 272300Z 05003KT 4000 HZ FEW030 27/22 Q1012 CB\n4 KM ALL HZ": _says(
        wind=(50, 3, None),
        mi=2.49,
        weather="HZ",
        sky="FEW 3000",
        clouds="CB",
        air=27,
        dew=22,
        inhg=29.88,
        q=1012,
        category="IFR",
    ),
    "MGHT 272200Z 16006KT 9999 SCT018 21/14 QFE 812/6": _says(
        wind=(160, 6, None), mi=6.21, sky="SCT 1800", air=21, dew=14, qfe=812.6, category="VFR"
    ),
    "MGSJ 272200Z 16006KT 9999 SCT018 31/24 QFE 1009.4": _says(
        wind=(160, 6, None), mi=6.21, sky="SCT 1800", air=31, dew=24, qfe=1009.4, category="VFR"
    ),
    "UATE 272200Z 00000MPS CAVOK 03/M01 Q1025 QFE 768/1024 QFE 768": _says(
        wind=(0, 0, None), mi=6.21, sky="CAVOK -", air=3, dew=-1, inhg=30.27, q=1025, qfe=1024, category="VFR"
    ),
    "MMTC 272140Z E27006G15KT 10SM BKN100 ///// A//// RMK 8/030": _says(
        wind=(270, 6, 15), estimated=True, mi=10, sky="BKN 10000", category="VFR"
    ),
    # The rain that Australian stations add
    "YPXM 231130Z AUTO 12012KT 9999 // SCT014 24/22 Q1010 RF00.2/013.4": _says(
        auto=True,
        wind=(120, 12, None),
        mi=6.21,
        sky="SCT 1400",
        air=24,
        dew=22,
        inhg=29.83,
        q=1010,
        rain=(0.2, 13.4),
        category="VFR",
    ),
    "YBUD 231130Z AUTO 09006KT 9999 NCD 19/16 Q1019 RF01/4/020/0 RMK RF//./////./": _says(
        auto=True, wind=(90, 6, None), mi=6.21, sky="NCD -", air=19, dew=16, inhg=30.09, q=1019, category="VFR"
    ),
    "YMEN 110930Z 22013KT 9999 SCT019 11/08 Q1027 FM1000 20010KT 4000 SHRA FM1200 19008KT 9999": _says(
        wind=(220, 13, None), mi=6.21, sky="SCT 1900", air=11, dew=8, inhg=30.33, q=1027, category="VFR"
    ),
    "YSCB 110900Z 31012KT CAVOK 14/03 Q1021 FM111030Z 30018G28KT MOD TURB": _says(
        wind=(310, 12, None), mi=6.21, sky="CAVOK -", air=14, dew=3, inhg=30.15, q=1021, category="VFR"
    ),
    # Groups for what is missing
    "K2W6 272155Z AUTO 21009KT M CLR 16/M A3001 M RMK AO2 T0158////": _says(
        auto=True, wind=(210, 9, None), sky="CLR -", air=15.8, inhg=30.01
    ),
    "KNEW 272155Z AUTO M 3SM OVC030 M/M A2999 RMK AO2 T////0113": _says(
        auto=True, mi=3, sky="OVC 3000", dew=11.3, inhg=29.99, category="MVFR"
    ),
    "SCTE 231100Z AUTO /////KT ///V/// //// R/////// // ////// ///// Q////": _says(auto=True),
    "LOWK 262130Z AUTO 00000KT 1400 R28L/1100U R28R///// BR VV/// 11/11 Q1027": _says(
        auto=True,
        wind=(0, 0, None),
        mi=0.87,
        rvr="R28L/1100U R28R/////",
        weather="BR",
        sky="OVX 0",
        air=11,
        dew=11,
        inhg=30.33,
        q=1027,
        category="LIFR",
    ),
    "LFXX 262130Z AUTO 08004KT //// FG VV002 11/11 Q1027": _says(
        auto=True,
        wind=(80, 4, None),
        weather="FG",
        sky="OVX 0",
        vertical=200,
        air=11,
        dew=11,
        inhg=30.33,
        q=1027,
        category="LIFR",
    ),
    # A second visibility
    "ESGP 272220Z AUTO 16004KT 0800 0500// R01/1500D FG FEW004/// 05/05 Q0998": _says(
        auto=True,
        wind=(160, 4, None),
        mi=0.5,
        minimum=(0.31, None),
        rvr="R01/1500D",
        weather="FG",
        sky="FEW 400",
        air=5,
        dew=5,
        inhg=29.47,
        q=998,
        category="LIFR",
    ),
    "FALE 272200Z 03004KT 4000 1200 BR FEW020 18/17 Q1018": _says(
        wind=(30, 4, None),
        mi=2.49,
        minimum=(0.75, None),
        weather="BR",
        sky="FEW 2000",
        air=18,
        dew=17,
        inhg=30.06,
        q=1018,
        category="IFR",
    ),
    "LIML 272220Z 00000KT 3000 1500SW 0600NE 7000S BR NSC 09/09 Q1022": _says(
        wind=(0, 0, None),
        mi=1.86,
        minimum=(0.37, "NE"),
        weather="BR",
        sky="NSC -",
        air=9,
        dew=9,
        inhg=30.18,
        q=1022,
        category="IFR",
    ),
    # The state of runways, in full and in short
    "UTSB 272200Z 13008KT 9999 NSC 01/M04 Q1021 R16/70D R34/D R07/CLRD R25//45 R18/1200D NOSIG": _says(
        wind=(130, 8, None),
        mi=6.21,
        rvr="R18/1200D",
        sky="NSC -",
        air=1,
        dew=-4,
        inhg=30.15,
        q=1021,
        category="VFR",
        state="R16/70D R34/D R07/CLRD R25//45",
    ),
    # The colours of military airfields
    "EGOV 272150Z 26006KT 9999 SCT150 17/16 Q1010 BLU+BLU+ BLACKAMB WHT/GRN BLACK RED": _says(
        wind=(260, 6, None),
        mi=6.21,
        sky="SCT 15000",
        air=17,
        dew=16,
        inhg=29.83,
        q=1010,
        colour="BLU+BLU+ BLACKAMB WHT/GRN BLACK RED",
        category="VFR",
    ),
    # As stations write it
    "SKBQ COR 272200Z 04012KT 9999 SCT020 31/25 Q1010.4/29.84": _says(
        wind=(40, 12, None), mi=6.21, sky="SCT 2000", air=31, dew=25, inhg=29.84, q=1010.4, category="VFR"
    ),
    "SECU 272200Z CALM CAVOK 9999 8/M1 Q998/A2947": _says(
        wind=(0, 0, None), mi=6.21, sky="CAVOK -", air=8, dew=-1, inhg=29.47, q=998, category="VFR"
    ),
    "HSSK 272200Z 34012G20 9999 SCT120BKN180 FEWO30/SCT040 BKN 180 24/ 12 QNH 1013": _says(
        wind=(340, 12, 20),
        mi=6.21,
        sky="SCT 12000, BKN 18000, FEW 3000, SCT 4000, BKN 18000",
        air=24,
        dew=12,
        inhg=29.91,
        q=1013,
        category="VFR",
    ),
    "KXYZ 272155Z 18005 KT P6 SM CLR BLW 120 20 /M03 A29.92 SLP131 RMK FIRST": _says(
        wind=(180, 5, None), mi=6, sky="CLR -", air=20, dew=-3, inhg=29.92, hpa=1013.1, category="VFR"
    ),
    "KXYZ 272155Z 18005KTS 1 1/2 SM BR SKC BLO 12000 20/19 A 2992 AO2 SLP131 T02040191": _says(
        wind=(180, 5, None),
        mi=1.5,
        weather="BR",
        sky="SKC -",
        air=20.4,
        dew=19.1,
        inhg=29.92,
        hpa=1013.1,
        category="IFR",
    ),
    "MYNN 272200Z VRB 03KT 8M FEW030 29/24 Q1016RMK CB DSNT": _says(
        wind=(None, 3, None), mi=8, sky="FEW 3000", air=29, dew=24, inhg=30, q=1016, category="VFR"
    ),
    "OAZI 272200Z 26006KT 9999M NSC 17/04 Q1018NOSIG": _says(
        wind=(260, 6, None), mi=6.21, sky="NSC -", air=17, dew=4, inhg=30.06, q=1018, category="VFR"
    ),
    "DTKA 272200Z 07003KT 4000. HZ, SCT030; 32// Q1021. WS RWY 07L NOSIG:SIROCCO==": _says(
        wind=(70, 3, None),
        mi=2.49,
        weather="HZ",
        sky="SCT 3000",
        air=32,
        inhg=30.15,
        q=1021,
        category="IFR",
    ),
    "SPQU 272200Z 10005KT CAVOK 18/06 Q1025 NO SIG PP000 T01840061": _says(
        wind=(100, 5, None), mi=6.21, sky="CAVOK -", air=18.4, dew=6.1, inhg=30.27, q=1025, category="VFR"
    ),
    # Remarks that contradict the report are mistakes
    "KSLP 272155Z 18005KT 10SM CLR 20/10 A2987 RMK SLP645 T02240121": _says(
        wind=(180, 5, None), mi=10, sky="CLR -", air=20, dew=10, inhg=29.87, category="VFR"
    ),
    "UUYY 272200Z 18005MPS CAVOK M40/M44 A3110 RMK SLP541": _says(
        wind=(180, 10, None), mi=6.21, sky="CAVOK -", air=-40, dew=-44, inhg=31.1, hpa=1054.1, category="VFR"
    ),
}

#: report -> the groups that nobody understands, with their columns; the rest of the report is decoded.
UNPARSED = {
    "KJFK 092351Z XYZZY": [("XYZZY", 14)],
    "METAR KJFK 092351Z 36005KT XYZZY 10SM CLR 05/M06 A2992 PLUGH RMK XYZZY=": [("XYZZY", 28), ("PLUGH", 56)],
    "KJFK 092351Z 37005KT 9SM 8SM": [("37005KT", 14), ("8SM", 26)],
    "KJFK 092351Z FM09300 OVC010": [("FM09300", 14)],
    "KJFK 092351Z SCT020XXX020 BKN030/SC": [("SCT020XXX020", 14), ("BKN030/SC", 27)],
    "KJFK 092351Z XYZZY. 10SM, PLUGH;": [("XYZZY", 14), ("PLUGH", 27)],
    "UUEE 092351Z 24008 Q0100 A3500 3000 5000": [("24008", 14), ("Q0100", 20), ("A3500", 26), ("5000", 37)],
    'KJFK 092351Z 1 3/2SM "\\': [("1 3/2SM", 14), ('"\\', 22)],
    "EGLL 092320Z Q1014= EGKK": [("Q1014=", 14), ("EGKK", 21)],
    "KJFK 092351Z" + " FEW010" * 17: [("FEW010", 126)],
    "KJFK 092351Z" + " RA" * 17: [("RA", 62)],
    "KJFK 092351Z CB" + " N" * 16: [("N", 47)],
    "KJFK 092351Z" + " RED" * 17: [("RED", 78)],
    "KJFK 092351Z" + " R01/0600" * 17: [("R01/0600", 158)],
    "KJFK 092351Z" + " TCU/N" * 17: [("TCU/N", 110)],
    "KJFK 092351Z" + " X" * 1018: [("X", 14 + 2 * n) for n in range(1018)],
}

#: text -> why it is refused as a report.
NO_REPORTS = {
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
    "KJFK 092351Z 10SM caf\u00e9": "byte 0xc3 at column 22 is not printable ASCII, as a report is",
    "KJFK 092351Z 10SM RMK \0": "byte 0x00 at column 23 is not printable ASCII, as a report is",
    "K" * 2049: "the report has 2049 bytes; at most 2048 are taken",
}

#: report -> why it is refused if the reading is strict.
REFUSED = {
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
    "KJFK 092351Z 10SM XYZZY, PLUGH": "group 4 'XYZZY,' at column 19 is not understood",
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
}
