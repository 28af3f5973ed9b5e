package jenkinsfile

import groovy.transform.CompileStatic

/** The category that Jenkins adds to CPS code: serializable iterators and map views. */
@CompileStatic
class SerializableIterators {
    static <E> Iterator<E> iterator(List<E> list) { new SerializableIterator<E>(list, 0) }

    static <E> ListIterator<E> listIterator(List<E> list) { new SerializableIterator<E>(list, 0) }

    static <E> ListIterator<E> listIterator(List<E> list, int index) { new SerializableIterator<E>(list, index) }

    static <E> Iterator<E> iterator(Set<E> set) { new SerializableIterator<E>(new ArrayList<E>(set), 0) }

    static <E> Iterator<E> iterator(E[] array) { new SerializableIterator<E>(Arrays.asList(array), 0) }

    static <E> Iterator<E> iterator(Deque<E> deque) { new SerializableIterator<E>(new ArrayList<E>(deque), 0) }

    static <K, V> Set<Map.Entry<K, V>> entrySet(Map<K, V> map) {
        Set<Map.Entry<K, V>> copy = new LinkedHashSet<Map.Entry<K, V>>()
        for (Map.Entry<K, V> entry : map.entrySet()) { copy.add(new AbstractMap.SimpleImmutableEntry<K, V>(entry)) }
        copy
    }

    static <K, V> Set<K> keySet(Map<K, V> map) { new LinkedHashSet<K>(map.keySet()) }

    static <K, V> Collection<V> values(Map<K, V> map) { new ArrayList<V>(map.values()) }
}

@CompileStatic
class SerializableIterator<E> implements ListIterator<E>, Serializable {
    private final List<E> list
    private int cursor
    private int last = -1

    SerializableIterator(List<E> list, int start) {
        this.list = list
        this.cursor = start
    }

    @Override
    boolean hasNext() { cursor < list.size() }

    @Override
    boolean hasPrevious() { cursor > 0 }

    @Override
    int nextIndex() { cursor }

    @Override
    int previousIndex() { cursor - 1 }

    @Override
    E next() {
        if (!hasNext()) { throw new NoSuchElementException() }
        last = cursor
        list.get(cursor++)
    }

    @Override
    E previous() {
        if (!hasPrevious()) { throw new NoSuchElementException() }
        last = --cursor
        list.get(cursor)
    }

    @Override
    void remove() {
        list.remove((int) last)
        cursor = last
        last = -1
    }

    @Override
    void set(E element) { list.set(last, element) }

    @Override
    void add(E element) {
        list.add(cursor++, element)
        last = -1
    }
}
