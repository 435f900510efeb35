"""The statements of trading's store. Everything by the batch: arrays in, one round trip."""

ENTER = """
SELECT {lock}({key}),
       set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true)
"""
_GATE = 7_264_150_917
SHARE_GATE = ENTER.format(lock="pg_advisory_xact_lock_shared", key=_GATE)
CLOSE_GATE = ENTER.format(lock="pg_advisory_xact_lock", key=_GATE)

LOCK_ACCOUNTS = """
SELECT account_id, user_id, broker, active, deleted, capital, version, opening_balance, realised_pnl, used_margin,
       funds_version, day, square_offs
  FROM accounts
 WHERE account_id = ANY($1::uuid[])
 ORDER BY account_id FOR UPDATE
"""
LOCK_SQUARING_OFF = """
SELECT *
  FROM accounts
 WHERE account_id IN (
       SELECT account_id FROM square_offs WHERE completed_at IS NULL AND (retry_at IS NULL OR retry_at <= $1)
       ) AND square_offs > 0
 ORDER BY account_id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
LOCK_OF_DAYS_BEFORE = "SELECT * FROM accounts WHERE day < $1 ORDER BY account_id LIMIT $2 FOR UPDATE SKIP LOCKED"
INSERT_ACCOUNT = """
INSERT INTO accounts
VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8, $9, $10, $11, $12, $13, $14, $15)
"""
DESCRIBE_ACCOUNT = "UPDATE accounts SET name = $2, labels = $3, is_master = $4, broker = $5 WHERE account_id = $1"
UPDATE_ACCOUNTS = """
UPDATE accounts a
   SET active = n.active, deleted = n.deleted, capital = n.capital, version = n.version,
       opening_balance = n.opening_balance, realised_pnl = n.realised_pnl, used_margin = n.used_margin,
       funds_version = n.funds_version, day = n.day, square_offs = n.square_offs
  FROM unnest($1::uuid[], $2::boolean[], $3::boolean[], $4::numeric[], $5::integer[], $6::numeric[], $7::numeric[],
              $8::numeric[], $9::integer[], $10::date[], $11::integer[])
       AS n(account_id, active, deleted, capital, version, opening_balance, realised_pnl, used_margin,
            funds_version, day, square_offs)
 WHERE a.account_id = n.account_id
"""

ORDERS = "SELECT * FROM orders WHERE order_id = ANY($1::uuid[])"
OPEN_ORDERS = "SELECT * FROM orders WHERE account_id = ANY($1::uuid[]) AND is_open"
INSERT_ORDERS = """
INSERT INTO orders
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[],
    $10::text[], $11::numeric[], $12::numeric[], $13::text[], $14::uuid[], $15::timestamptz[], $16::text[],
    $17::text[], $18::boolean[], $19::integer[], $20::integer[], $21::numeric[], $22::timestamptz[], $23::integer[],
    $24::numeric[], $25::text[], $26::boolean[], $27::timestamptz[], $28::text[])
"""
UPDATE_ORDERS = """
UPDATE orders o
   SET quantity = n.quantity, order_type = n.order_type, price = n.price, trigger_price = n.trigger_price,
       status = n.status, is_open = n.is_open, version = n.version, epoch = n.epoch, margin = n.margin,
       filled_quantity = n.filled_quantity, filled_value = n.filled_value, broker_order_id = n.broker_order_id,
       triggered = n.triggered, cancel_requested_at = n.cancel_requested_at, change = n.change
  FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::numeric[], $5::numeric[], $6::text[], $7::boolean[],
              $8::integer[], $9::integer[], $10::numeric[], $11::integer[], $12::numeric[], $13::text[],
              $14::boolean[], $15::timestamptz[], $16::text[])
       AS n(order_id, quantity, order_type, price, trigger_price, status, is_open, version, epoch, margin,
            filled_quantity, filled_value, broker_order_id, triggered, cancel_requested_at, change)
 WHERE o.order_id = n.order_id
"""

EXECUTIONS = "SELECT venue, execution_id FROM executions WHERE execution_id = ANY($1::text[])"
INSERT_EXECUTIONS = """
INSERT INTO executions
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::integer[], $6::numeric[], $7::timestamptz[])
"""

POSITIONS = """
SELECT p.*
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k(account_id, instrument, product)
  JOIN positions p USING (account_id, instrument, product)
"""
BOOKS = """
SELECT b.*
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS k(account_id, instrument, product, strategy_id)
  JOIN books b USING (account_id, instrument, product, strategy_id)
"""
LIVE_POSITIONS = """
SELECT *
  FROM positions
 WHERE account_id = ANY($1::uuid[]) AND (quantity <> 0 OR bought_quantity > 0 OR sold_quantity > 0)
"""
LIVE_BOOKS = """
SELECT *
  FROM books
 WHERE account_id = ANY($1::uuid[]) AND (quantity <> 0 OR bought_quantity > 0 OR sold_quantity > 0)
"""
SAVE_POSITIONS = """
INSERT INTO positions
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::integer[], $7::numeric[],
                     $8::numeric[], $9::integer[], $10::integer[], $11::numeric[], $12::numeric[], $13::numeric[],
                     $14::integer[])
ON CONFLICT (account_id, instrument, product) DO UPDATE
   SET order_id = excluded.order_id, quantity = excluded.quantity, cost = excluded.cost,
       realised_pnl = excluded.realised_pnl, bought_quantity = excluded.bought_quantity,
       sold_quantity = excluded.sold_quantity, bought_value = excluded.bought_value,
       sold_value = excluded.sold_value, margin = excluded.margin, version = excluded.version
"""
SAVE_BOOKS = """
INSERT INTO books
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::integer[], $6::numeric[], $7::numeric[],
                     $8::integer[], $9::integer[], $10::numeric[], $11::numeric[])
ON CONFLICT (account_id, instrument, product, strategy_id) DO UPDATE
   SET quantity = excluded.quantity, cost = excluded.cost, realised_pnl = excluded.realised_pnl,
       bought_quantity = excluded.bought_quantity, sold_quantity = excluded.sold_quantity,
       bought_value = excluded.bought_value, sold_value = excluded.sold_value
"""

KNOWN_SQUARE_OFFS = "SELECT square_off_id FROM square_offs WHERE square_off_id = ANY($1::uuid[])"
OPEN_SQUARE_OFFS = "SELECT * FROM square_offs WHERE account_id = ANY($1::uuid[]) AND completed_at IS NULL"
SAVE_SQUARE_OFFS = """
INSERT INTO square_offs
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                     $8::timestamptz[], $9::integer[], $10::timestamptz[], $11::timestamptz[])
ON CONFLICT (square_off_id) DO UPDATE
   SET failures = excluded.failures, retry_at = excluded.retry_at, completed_at = excluded.completed_at
"""
LARGEST_ORDERS = "SELECT instrument, quantity FROM largest_orders"
SAVE_LARGEST_ORDER = """
INSERT INTO largest_orders VALUES ($1, $2) ON CONFLICT (instrument) DO UPDATE SET quantity = excluded.quantity
"""

EPOCHS = "SELECT scope, epoch, halted, panic_id FROM panic_epochs WHERE scope = ANY($1::text[])"
SAVE_EPOCHS = """
INSERT INTO panic_epochs SELECT * FROM unnest($1::text[], $2::integer[], $3::boolean[], $4::uuid[])
ON CONFLICT (scope) DO UPDATE
   SET epoch = excluded.epoch, halted = excluded.halted, panic_id = excluded.panic_id
"""
PANIC = "SELECT epoch FROM panics WHERE panic_id = $1"
INSERT_PANIC = "INSERT INTO panics VALUES ($1, $2, $3, $4, $5, $6)"
_AT_STAKE = """
SELECT account_id FROM orders WHERE is_open {orders}
UNION
SELECT account_id FROM books WHERE quantity <> 0 {books}
"""
AT_STAKE = {
    "ALL": _AT_STAKE.format(orders="", books=""),
    "USER": _AT_STAKE.format(
        orders="AND account_id IN (SELECT account_id FROM accounts WHERE user_id::text = $1)",
        books="AND account_id IN (SELECT account_id FROM accounts WHERE user_id::text = $1)",
    ),
    "ACCOUNT": _AT_STAKE.format(orders="AND account_id::text = $1", books="AND account_id::text = $1"),
    "STRATEGY": _AT_STAKE.format(orders="AND strategy_id::text = $1", books="AND strategy_id::text = $1"),
}
