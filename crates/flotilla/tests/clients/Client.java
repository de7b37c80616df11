import java.io.FileInputStream;
import java.net.URL;
import java.security.KeyStore;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** A stock client of Java: Client.java PASSWORD URL TRUSTED.p12 [IDENTITY.p12]; prints the status. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        char[] password = arguments[0].toCharArray();
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(open(arguments[2], password));
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(arguments.length > 3 ? open(arguments[3], password) : null, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        HttpsURLConnection connection = (HttpsURLConnection) new URL(arguments[1]).openConnection();
        connection.setSSLSocketFactory(context.getSocketFactory());
        connection.setReadTimeout(30_000);
        System.out.println("HTTP/1.1 " + connection.getResponseCode());
    }

    private static KeyStore open(String path, char[] password) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(path)) {
            store.load(file, password);
        }
        return store;
    }
}
