import ca.uhn.fhir.jpa.search.IStaleSearchDeletingSvc;
import ca.uhn.fhir.jpa.search.cache.DatabaseSearchCacheSvcImpl;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpServletResponseWrapper;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Lets the cursors of searches expire in the middle of a pull: HAPI's own clean-up, told that it is later.
 *
 * <p>After {@code POST ?after=N}, all searches expire when the N-th request for a next page from now on
 * arrives, once. {@code GET} says how many such requests were answered that their search has expired.
 *
 * <p>Beside, whoever asks how far a bulk export is hears that it is worth asking again after a second: HAPI
 * would always say two minutes.
 */
class Expiry extends HttpServlet implements Filter {
    /** Longer than any search is kept. */
    private static final Duration AGE = Duration.ofDays(7);
    private static final long serialVersionUID = 1;

    private final transient IStaleSearchDeletingSvc searches;
    private final AtomicInteger pagesLeft = new AtomicInteger();
    private final AtomicInteger expired = new AtomicInteger();

    Expiry(IStaleSearchDeletingSvc searches) {
        this.searches = searches;
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) {
        pagesLeft.set(Integer.parseInt(request.getParameter("after")));
        response.setStatus(HttpServletResponse.SC_NO_CONTENT);
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        response.getWriter().print(expired.get());
    }

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain rest)
            throws IOException, ServletException {
        String query = ((HttpServletRequest) request).getQueryString();
        boolean nextPage = query != null && query.contains("_getpages=");
        if (nextPage && pagesLeft.getAndUpdate(left -> Math.max(left - 1, 0)) == 1) {
            expireAll();
        }
        rest.doFilter(request, new Soon((HttpServletResponse) response));
        if (nextPage && ((HttpServletResponse) response).getStatus() == HttpServletResponse.SC_GONE) {
            expired.incrementAndGet();
        }
    }

    /** Shortens what a client is told to wait. */
    private static class Soon extends HttpServletResponseWrapper {
        private static final String WAIT = "Retry-After";

        Soon(HttpServletResponse response) {
            super(response);
        }

        @Override
        public void addHeader(String name, String value) {
            super.addHeader(name, shortened(name, value));
        }

        @Override
        public void setHeader(String name, String value) {
            super.setHeader(name, shortened(name, value));
        }

        private static String shortened(String name, String value) {
            return WAIT.equalsIgnoreCase(name) ? "1" : value;
        }
    }

    private void expireAll() {
        DatabaseSearchCacheSvcImpl.setNowForUnitTests(System.currentTimeMillis() + AGE.toMillis());
        try {
            searches.pollForStaleSearchesAndDeleteThem();
        } finally {
            DatabaseSearchCacheSvcImpl.setNowForUnitTests(null);
        }
    }
}
