"""The indices and stocks of the simulated market: plausible price levels, yearly volatility, share in common moves.

Names and numbers only say what kind of market is imitated; no price here is a quotation.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpotModel:
    """`correlation` is with the one market factor that all prices share."""

    instrument: str
    name: str
    level: float
    volatility: float
    correlation: float
    daily_volume: int = 0


INDICES = (
    SpotModel("NSE_INDEX:NIFTY", "Nifty 50", 24400, 0.13, 0.98),
    SpotModel("NSE_INDEX:BANKNIFTY", "Nifty Bank", 57000, 0.15, 0.90),
    SpotModel("NSE_INDEX:FINNIFTY", "Nifty Financial Services", 26600, 0.15, 0.91),
    SpotModel("NSE_INDEX:MIDCPNIFTY", "Nifty Midcap Select", 14500, 0.18, 0.85),
    SpotModel("NSE_INDEX:NIFTYNXT50", "Nifty Next 50", 71500, 0.19, 0.88),
    SpotModel("BSE_INDEX:SENSEX", "S&P BSE Sensex", 78000, 0.13, 0.97),
    SpotModel("BSE_INDEX:BANKEX", "S&P BSE Bankex", 65000, 0.15, 0.89),
)

_STOCKS = """
RELIANCE   Reliance Industries              1308   0.24 0.70  8600000
HDFCBANK   HDFC Bank                         748   0.20 0.68 25500000
ICICIBANK  ICICI Bank                       1435   0.20 0.68  8700000
INFY       Infosys                          1130   0.26 0.50 14300000
TCS        Tata Consultancy Services        2366   0.23 0.48  4300000
BHARTIARTL Bharti Airtel                    1972   0.22 0.50  6500000
ITC        ITC                               281   0.20 0.42 16800000
LT         Larsen & Toubro                  3939   0.23 0.62  1750000
SBIN       State Bank of India              1027   0.23 0.64 10900000
AXISBANK   Axis Bank                        1229   0.25 0.62  7400000
KOTAKBANK  Kotak Mahindra Bank               390   0.22 0.58  7000000
M&M        Mahindra & Mahindra              3398   0.27 0.55  6100000
HINDUNILVR Hindustan Unilever               2101   0.20 0.38  1750000
BAJFINANCE Bajaj Finance                    1141   0.28 0.60 40800000
MARUTI     Maruti Suzuki India             14234   0.24 0.50   535000
SUNPHARMA  Sun Pharmaceutical Industries    1990   0.22 0.36  4900000
HCLTECH    HCL Technologies                 1347   0.26 0.48  3300000
NTPC       NTPC                              347   0.23 0.50  8500000
TITAN      Titan Company                    4875   0.24 0.50  1000000
ULTRACEMCO UltraTech Cement                11903   0.23 0.48   390000
ETERNAL    Eternal                           302   0.38 0.45 36700000
TATASTEEL  Tata Steel                        190   0.28 0.55 34200000
POWERGRID  Power Grid Corporation of India   284   0.21 0.45  7800000
BEL        Bharat Electronics                388   0.28 0.52 17100000
ASIANPAINT Asian Paints                     2747   0.23 0.40   890000
TRENT      Trent                            3006   0.34 0.45   605000
ONGC       Oil & Natural Gas Corporation     243   0.25 0.45 10000000
BAJAJFINSV Bajaj Finserv                    2029   0.25 0.58  3700000
ADANIPORTS Adani Ports & SEZ                1696   0.30 0.55  4700000
JSWSTEEL   JSW Steel                        1270   0.26 0.54  1450000
GRASIM     Grasim Industries                3101   0.24 0.50   310000
COALINDIA  Coal India                        414   0.23 0.42  5900000
NESTLEIND  Nestle India                     1510   0.20 0.36  2500000
HINDALCO   Hindalco Industries               974   0.29 0.54  5500000
TECHM      Tech Mahindra                    1651   0.28 0.48  3300000
JIOFIN     Jio Financial Services            256   0.31 0.50 42800000
ADANIENT   Adani Enterprises                3010   0.36 0.50   866000
WIPRO      Wipro                             184   0.25 0.48 18700000
CIPLA      Cipla                            1473   0.22 0.34  1200000
SBILIFE    SBI Life Insurance               1882   0.22 0.44   720000
SHRIRAMFIN Shriram Finance                  1047   0.30 0.55  6300000
BAJAJ-AUTO Bajaj Auto                      11520   0.25 0.48   214000
APOLLOHOSP Apollo Hospitals Enterprise      8957   0.24 0.42   268000
DRREDDY    Dr Reddy's Laboratories          1148   0.23 0.34  1080000
HDFCLIFE   HDFC Life Insurance               548   0.23 0.46 11400000
INDIGO     InterGlobe Aviation              5171   0.29 0.44   462000
EICHERMOT  Eicher Motors                    7833   0.25 0.48   720000
TATACONSUM Tata Consumer Products           1083   0.23 0.40  1480000
TMPV       Tata Motors Passenger Vehicles    340   0.30 0.50  8500000
MAXHEALTH  Max Healthcare Institute         1098   0.27 0.40  2050000
"""


def _stock(line: str) -> SpotModel:
    symbol, *name, level, volatility, correlation, volume = line.split()
    return SpotModel(f"NSE:{symbol}", " ".join(name), float(level), float(volatility), float(correlation), int(volume))


STOCKS = tuple(_stock(line) for line in _STOCKS.strip().splitlines())
