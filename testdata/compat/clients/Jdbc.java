import java.io.StringReader;
import java.math.BigDecimal;
import java.sql.*;
import org.postgresql.PGConnection;

/** The JDBC driver as programs use it: server-prepared after five uses, batches, cursors, COPY. */
public class Jdbc {
    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        try (Connection c = DriverManager.getConnection(url, System.getenv("PGUSER"), "")) {
            try (Statement s = c.createStatement()) {
                s.execute("create table t (id serial primary key, n numeric, b bytea, at timestamp, s text)");
            }
            try (PreparedStatement p = c.prepareStatement("insert into t (n, b, at, s) values (?, ?, ?, ?)")) {
                for (int i = 0; i < 500; i++) {
                    p.setBigDecimal(1, new BigDecimal(i).movePointLeft(2));
                    p.setBytes(2, new byte[] {(byte) i, 1});
                    p.setTimestamp(3, Timestamp.valueOf("2026-01-01 00:00:00"));
                    p.setString(4, "s'" + i);
                    p.addBatch();
                }
                System.out.println(p.executeBatch().length);
            }
            try (PreparedStatement p = c.prepareStatement("select n, b, at, s from t where id = ?")) {
                for (int i = 1; i <= 12; i++) { // the driver turns to a named statement and binary results on the way
                    p.setInt(1, i);
                    try (ResultSet r = p.executeQuery()) {
                        r.next();
                        System.out.println(r.getBigDecimal(1) + " " + r.getBytes(2)[0] + " " + r.getTimestamp(3) + " " + r.getString(4));
                    }
                }
            }
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(33);
                long sum = 0;
                try (ResultSet r = s.executeQuery("select id from t order by id")) {
                    while (r.next()) sum += r.getLong(1);
                }
                System.out.println(sum);
                try {
                    s.execute("select 1/0");
                } catch (SQLException e) {
                    System.out.println(e.getSQLState());
                }
                c.rollback();
            }
            System.out.println(c.unwrap(PGConnection.class).getCopyAPI().copyIn("copy t (n, s) from stdin", new StringReader("1\tx\n2\ty\n")));
            c.commit();
            System.out.println(c.getMetaData().getColumns(null, "public", "t", null).next());
        }
    }
}
